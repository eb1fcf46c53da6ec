"""Random parameters of a clip, of which one band is kept for the split of unseen voices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["Draw"]

T = TypeVar("T")

_HELD_OUT = (0.45, 0.6)
"""Share of every continuous range that only the unseen split draws from."""


class Draw:
    """Draws parameters from `rng`; `unseen` draws them from the held-out band of each range, else from the rest."""

    def __init__(self, rng: np.random.Generator, unseen: bool) -> None:
        self.rng = rng
        self.unseen = unseen

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`, without or only from the held-out band."""
        start, end = _HELD_OUT
        share = self.rng.uniform()
        if self.unseen:
            share = start + share * (end - start)
        else:
            share *= 1 - (end - start)
            share += (end - start) if share >= start else 0.0
        return low + share * (high - low)

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included; every one occurs in every split."""
        return int(self.rng.integers(low, high + 1))

    def choice(self, options: Sequence[T]) -> T:
        """One of `options`; every one occurs in every split."""
        return options[int(self.rng.integers(len(options)))]
