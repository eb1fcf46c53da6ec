"""Lines of several JSONL files as one stream that can be entered again anywhere."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from nemo_desta.data.shards import expand_paths
from nemo_desta.errors import RecordError
from nemo_desta.record import Record, parse_line

__all__ = ["START", "Line", "fingerprint", "input_files", "parse", "read_lines"]

Position = tuple[int, int, int]
"""Number of the file, offset in it in bytes, and lines read of it."""
START: Position = (0, 0, 0)


@dataclass(frozen=True)
class Line:
    """One line that is not blank.

    Attributes:
        where: "file:line", for messages.
        data: the bytes.
        after: position from which the stream goes on behind it.
    """

    where: str
    data: bytes
    after: Position

    @property
    def text(self) -> str:
        """The line for a human reader; what is no UTF-8 is replaced."""
        return self.data.decode("utf-8", "replace").rstrip("\r\n")


def input_files(patterns: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files of a path, a list, or patterns (`{0..9}`, `*`), in order; `*` sorted by name.

    Raises:
        RecordError: one is missing, compressed, or named twice.
    """
    found: list[Path] = []
    for name in expand_paths(patterns):
        found += map(Path, sorted(glob(name)) if has_magic(name) and not os.path.exists(name) else [name])
        if not found or not found[-1].is_file():
            raise RecordError(f"{name}: no such file; give JSONL files of records.")
    for path in found:
        with path.open("rb") as file:
            if file.read(2) == b"\x1f\x8b":
                raise RecordError(f"{path}: is compressed; unpack it first (gzip -dk {path.name}).")
    twice = sorted({str(p) for p in found if found.count(p) > 1})
    if twice:
        raise RecordError(f"{', '.join(twice)}: named twice; every record would be there twice.")
    return found


def fingerprint(paths: Sequence[Path]) -> str:
    """Hash of the files' contents, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
    return digest.hexdigest()


def read_lines(paths: Sequence[Path], start: Position = START) -> Iterator[Line]:
    """Stream the lines that are not blank from a position on.

    Raises:
        RecordError: a file cannot be read.
    """
    first, offset, number = start
    for index in range(first, len(paths)):
        try:
            with paths[index].open("rb") as file:
                file.seek(offset)
                for data in file:
                    offset, number = offset + len(data), number + 1
                    if data.strip():
                        yield Line(f"{paths[index]}:{number}", data, (index, offset, number))
        except OSError as err:
            raise RecordError(f"{paths[index]}: cannot be read ({err}).") from err
        offset = number = 0


def parse(line: Line) -> Record | str:
    """The record of a line, or what is wrong with it."""
    try:
        return parse_line(line.data, line.where)
    except RecordError as err:
        return str(err)
