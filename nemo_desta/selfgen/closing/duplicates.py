"""Responses that say the same again and again to one prompt.

Not every repetition is bad. Two clips of one sentence read in one emotion have one seed description, and deserve one
answer; "A woman." is right as often as women speak. What a corpus should not be full of are long answers that are the
same whatever was heard: they show that the LLM did not look at the seed description. So rows count as duplicates when
they answer the same prompt, state the same attributes and numbers, and say the same in at least `min_words` words; of
such rows `keep` stay, chosen by a hash of their ids, so that neither the order of the input nor shards decide.
"""

import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np

from nemo_desta.errors import ConfigError
from nemo_desta.schema import from_dict
from nemo_desta.selfgen.closing.lines import read_at, read_rows
from nemo_desta.selfgen.words import seed_attributes, words

__all__ = ["DuplicateOptions", "Duplicates", "find_duplicates"]

_PERMUTATIONS = 64
_PROPOSED = 0.2  # the hashes propose pairs from this far below `near`; the exact similarity decides
_LARGEST = 20_000  # rows of one group among which near duplicates are looked for; keeps the memory small
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class DuplicateOptions:
    """The `duplicates` section of conf/filters/*.yaml."""

    keep: int = 3
    """How many rows that say the same may stay."""
    near: float = 0.9
    """Jaccard similarity of word trigrams from which two responses say the same; 1: their words must be the same."""
    min_words: int = 20
    """Shorter responses may repeat."""

    @classmethod
    def parse(cls, section: Mapping[str, Any]) -> "DuplicateOptions":
        """From the YAML.

        Raises:
            ConfigError: an unknown key or a value out of range.
        """
        try:
            options = from_dict(cls, section)
        except ConfigError as err:
            raise ConfigError(f"filters, duplicates: {err}") from err
        if options.keep < 1 or options.min_words < 3 or not 0.5 <= options.near <= 1:
            raise ConfigError(
                "filters, duplicates: keep must be at least 1, min_words at least 3, near between 0.5 and 1."
            )
        return options


@dataclass
class Duplicates:
    """The rows to set apart.

    Attributes:
        found: number of the row in the file -> (reason, offset of the row that it repeats).
        too_large: rows in groups too large to look for near duplicates in; only equal ones were found there.
    """

    found: dict[int, tuple[str, int]] = field(default_factory=dict)
    too_large: int = 0


@dataclass
class _Candidates:
    """What is known of each row that could be a duplicate: 40 bytes. All are unsigned 64-bit integers."""

    group: array = field(default_factory=lambda: array("Q"))
    text: array = field(default_factory=lambda: array("Q"))
    rank: array = field(default_factory=lambda: array("Q"))
    row: array = field(default_factory=lambda: array("Q"))
    offset: array = field(default_factory=lambda: array("Q"))

    def groups(self, larger_than: int) -> Iterator[np.ndarray]:
        """Indices of the rows of each group with more rows than that, in order of rank."""
        group, rank = np.frombuffer(self.group, np.uint64), np.frombuffer(self.rank, np.uint64)
        order = np.lexsort((rank, group))
        edges = np.flatnonzero(np.diff(group[order])) + 1
        starts, ends = np.r_[0, edges], np.r_[edges, len(order)]
        for i in np.flatnonzero(ends - starts > larger_than):
            yield order[starts[i] : ends[i]]


def find_duplicates(path: Path, options: DuplicateOptions) -> Duplicates:
    """Look through one file of finished rows.

    Args:
        path: JSONL of records.
        options: see there.
    """
    candidates, out = _candidates(path, options.min_words), Duplicates()
    if not len(candidates.group):
        return out
    with path.open("rb") as file:
        for group in candidates.groups(larger_than=options.keep):
            near = options.near if len(group) <= _LARGEST else 1.0
            out.too_large += len(group) if near != options.near else 0
            _search(group, candidates, _Alike(near, candidates, file), options.keep, out)
    return out


def _candidates(path: Path, min_words: int) -> _Candidates:
    out = _Candidates()
    for number, (offset, _, row) in enumerate(read_rows(path)):
        response = row["response"]
        if len(response) < min_words:  # a word has a character at least
            continue
        said = words(response)
        if len(said) < min_words:
            continue
        lower = response.casefold()
        stated = sorted(v for v in map(str.casefold, seed_attributes(row["seed_description"]).values()) if v in lower)
        out.group.append(_hash(row["prompt"], *stated, "", *_NUMBER.findall(response)))
        out.text.append(_hash(" ".join(said)))
        out.rank.append(_hash(row["id"]))
        out.row.append(number)
        out.offset.append(offset)
    return out


def _search(group: np.ndarray, rows: _Candidates, alike: "_Alike", keep: int, out: Duplicates) -> None:
    """Count each row to the first one that says the same; what exceeds `keep` is found."""
    first_of: dict[int, int] = {}  # hash of a text -> index of the row that its cluster began with
    counts: dict[int, int] = {}
    for i in map(int, group):
        text = rows.text[i]
        if text not in first_of:
            first_of[text] = alike.first(i)
        first = first_of[text]
        counts[first] = counts.get(first, 0) + 1
        if counts[first] > keep:
            reason = "duplicate" if text == rows.text[first] else "near_duplicate"
            out.found[rows.row[i]] = (reason, rows.offset[first])


class _Alike:
    """Finds, among the texts shown so far, one that is near to a new one.

    Args:
        near: Jaccard similarity; 1: none is looked for.
        rows: their offsets and ranks.
        file: where the rows stand.
    """

    def __init__(self, near: float, rows: _Candidates, file: BinaryIO) -> None:
        self.near, self.rows, self.file = near, rows, file

    @cached_property
    def _tools(self) -> tuple[Any, Any]:
        from datasketch import MinHash, MinHashLSH

        return MinHash(_PERMUTATIONS, hashfunc=crc32), MinHashLSH(max(self.near - _PROPOSED, 0.4), _PERMUTATIONS)

    def first(self, index: int) -> int:
        """The index of the text of lowest rank that is near, or its own."""
        if self.near >= 1:
            return index
        empty, table = self._tools
        grams = self._grams(index)
        digest = empty.copy()
        digest.update_batch([" ".join(g).encode("utf-8", "surrogatepass") for g in grams])
        for other in sorted(table.query(digest), key=self.rows.rank.__getitem__):
            theirs = self._grams(other)
            if len(grams & theirs) >= self.near * len(grams | theirs):
                return other
        table.insert(index, digest)
        return index

    def _grams(self, index: int) -> set[tuple[str, ...]]:
        said = words(read_at(self.file, self.rows.offset[index])["response"])
        return set(zip(said, said[1:], said[2:], strict=False))


def _hash(*parts: str) -> int:
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")
