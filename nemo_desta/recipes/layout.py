"""Reading a corpus as its authors distribute it: finding its folder, reading its tables, counting what cannot be used."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from lhotse.utils import Pathlike

from nemo_desta.errors import ConfigError

__all__ = ["Faults", "find_root", "hidden", "read_table"]

_SHOWN = 10
"""So many faults are logged one by one, and named in the error; the others are counted."""


class Faults:
    """Counts the clips that cannot be used, and decides whether the rest is still the corpus.

    Args:
        corpus: its name, for messages.
        max_bad: share of the clips, 0 to 1, that may be unusable.
        known: stems of files that are broken wherever the corpus is; they do not count against `max_bad`.

    Attributes:
        bad: "where: what is wrong" of each unusable clip.
        expected: the same for the known ones.

    Raises:
        ConfigError: `max_bad` is no share.
    """

    def __init__(self, corpus: str, max_bad: float, known: Collection[str] = ()) -> None:
        if not 0 <= max_bad <= 1:
            raise ConfigError(f"max_bad={max_bad} is a share of the clips, from 0 to 1.")
        self.corpus = corpus
        self.max_bad = max_bad
        self.bad: list[str] = []
        self.expected: list[str] = []
        self._known = frozenset(known)

    def add(self, where: Path | str, what: str) -> None:
        """Count one unusable clip, the first few of them with a log line each.

        Args:
            where: the audio file, or "file:line".
            what: what is wrong with it.
        """
        kind = self.expected if Path(where).stem in self._known else self.bad
        kind.append(f"{where}: {what}")
        if len(kind) <= _SHOWN:
            logging.warning(f"{self.corpus}: left out {kind[-1]}")

    def check(self, good: int) -> None:
        """Say how many clips are left out of how many.

        Raises:
            ConfigError: there is no clip, or the share of unusable ones is above `max_bad`; the first are named.
        """
        total = good + len(self.bad)
        listed = "".join(f"\n  - {fault}" for fault in self.bad[:_SHOWN])
        listed += f"\n  and {len(self.bad) - _SHOWN} more" if len(self.bad) > _SHOWN else ""
        if not good:
            raise ConfigError(f"{self.corpus}: no usable clip{':' + listed if listed else '.'}")
        if len(self.bad) > self.max_bad * total:
            raise ConfigError(
                f"{self.corpus}: {len(self.bad)} of {total} clips cannot be used, more than max_bad={self.max_bad:g} "
                f"allows:{listed}\nRepair the corpus, or allow a larger share with max_bad."
            )
        if self.bad or self.expected:
            logging.warning(
                f"{self.corpus}: {good} clips kept, {len(self.bad)} left out, and {len(self.expected)} known to be broken"
            )


def find_root(
    corpus: str, corpus_dir: Pathlike, inside: Sequence[str], is_root: Callable[[Path], bool], expected: str
) -> Path:
    """The folder that holds the corpus: `corpus_dir` itself, or one that its archive unpacks into.

    Args:
        corpus: its name, for messages.
        corpus_dir: the folder that the user gave.
        inside: folders below it where the corpus may lie, in order.
        is_root: whether a folder is the one.
        expected: what was looked for, in words, for the message.

    Raises:
        ConfigError: none of them is; what was looked for and what is there instead is shown.
    """
    corpus_dir = Path(corpus_dir)
    if not corpus_dir.is_dir():
        raise ConfigError(f"{corpus}: {corpus_dir} is no folder; give the one that the corpus was unpacked into.")
    for name in ("", *inside):
        if is_root(corpus_dir / name):
            return corpus_dir / name
    names = sorted(path.name for path in corpus_dir.iterdir() if not hidden(path))
    found = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"
    raise ConfigError(
        f"{corpus}: {corpus_dir} does not hold the corpus. Expected there (or in {', '.join(inside)}): {expected}. "
        f"Found: {found}."
    )


def read_table(path: Path, columns: Sequence[str], faults: Faults) -> Iterator[tuple[str, dict[str, str]]]:
    """(place, row) of each row of a CSV file with a header; rows of another width are counted as faults.

    Args:
        path: the file, UTF-8, with or without byte-order mark.
        columns: the columns that are needed; others are passed on.
        faults: gets "file:line" of rows that cannot be read.

    Raises:
        ConfigError: the file is missing, is not UTF-8, or lacks a column.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; the corpus is not complete.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream)
            header = next(rows, [])
            missing = [name for name in columns if name not in header]
            if missing:
                raise ConfigError(
                    f"{path}:1: no column {', '.join(missing)}; the header is {','.join(header) or 'empty'}."
                )
            for row in rows:
                place = f"{path}:{rows.line_num}"
                if row and len(row) != len(header):
                    faults.add(place, f"{len(row)} fields where the header has {len(header)}")
                elif row:
                    yield place, dict(zip(header, (field.strip() for field in row), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: not readable as CSV in UTF-8 ({error}); fetch the file again.") from error


def hidden(path: Path) -> bool:
    """Whether a file is one of those that file managers leave behind (`.DS_Store`, `._jazz.00001.wav`)."""
    return path.name.startswith(".")
