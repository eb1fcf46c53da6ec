"""Loops: what a language model falls into when it does not find the end."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nemo_desta.errors import ConfigError
from nemo_desta.schema import from_dict
from nemo_desta.selfgen.words import UNSPACED

__all__ = ["RepetitionOptions", "RepetitionRule"]

_CHARACTER = re.compile(f"[{UNSPACED}]")
_CHARACTERS_A_WORD = 2
_RULER = re.compile(r"[|:=+_-]{2,}|\|")  # of a table

_UNIT = 40  # characters of the longest piece of text that is looked for as a loop
_TIMES = 4  # that it must follow on itself, and
_LOOP_LENGTH = 40  # characters of the whole; "hahaha" and "knock, knock, knock" are language
_PIECE, _STRIDE, _REACH = (
    10,
    20,
    50,
)  # every such loop holds a piece, at a multiple of the stride, that recurs within reach


@dataclass(frozen=True)
class RepetitionOptions:
    """The `repetition` section of conf/filters/*.yaml."""

    ngram: int = 4
    """Words that are looked at together; twice as many characters in scripts without spaces."""
    max_count: int = 3
    """How often the same ones may occur."""


class RepetitionRule:
    """Tells responses that repeat themselves: an n-gram too often, or any piece of text over and over without a break.

    Args:
        config: see `RepetitionOptions`.

    Raises:
        ConfigError: an unknown key or a value out of range.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        try:
            self.options = from_dict(RepetitionOptions, config)
        except ConfigError as err:
            raise ConfigError(f"filters, repetition: {err}") from err
        if self.options.ngram < 1 or self.options.max_count < 1:
            raise ConfigError("filters, repetition: ngram and max_count must be at least 1.")

    def __call__(self, response: str) -> str | None:
        """What is repeated, or None."""
        words = [w for w in response.casefold().split() if not _RULER.fullmatch(w)]
        found = self._repeated(words, self.options.ngram, " ")
        if found is None and not response.isascii():
            found = self._repeated(_CHARACTER.findall(response), self.options.ngram * _CHARACTERS_A_WORD, "")
        return found or _loop(response)

    def _repeated(self, tokens: Sequence[str], size: int, joint: str) -> str | None:
        if len(tokens) < size + self.options.max_count:
            return None
        gram, count = Counter(zip(*(tokens[i:] for i in range(size)), strict=False)).most_common(1)[0]
        return joint.join(gram) if count > self.options.max_count else None


def _loop(text: str) -> str | None:
    """The first loop of the shortest unit; lines and rulers, without a letter or digit, are none."""
    pieces = range(0, len(text) - _PIECE, _STRIDE)
    if not any(text.find(text[i : i + _PIECE], i + 1, i + _REACH) >= 0 for i in pieces):
        return None  # nearly always
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    for size in range(1, min(_UNIT, len(text) // _TIMES) + 1):
        breaks = np.flatnonzero(codes[size:] != codes[:-size])
        edges = np.concatenate(([-1], breaks, [len(text) - size]))
        for i in np.flatnonzero(np.diff(edges) - 1 + size >= max(_LOOP_LENGTH, _TIMES * size)):
            unit = text[edges[i] + 1 : edges[i] + 1 + size]
            if any(map(str.isalnum, unit)):
                return unit * 3 + "..."
    return None
