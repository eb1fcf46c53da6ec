"""Efron's bootstrap with percentile intervals. NumPy only.

A statistic takes `weights`, how often each item counts, so that many resamples are computed at once: a resample is a
row of counts.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

__all__ = ["Interval", "bootstrap_interval", "ratio", "resample_counts"]

NUM_RESAMPLES = 2000
_COUNTS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % confidence interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """For JSON, which has no NaN: None in its place."""
        return {k: None if np.isnan(v) else float(v) for k, v in asdict(self).items()}


def resample_counts(num_items: int, seed: int = 0, num_resamples: int = NUM_RESAMPLES) -> np.ndarray:
    """How often each item is drawn in each resample: int64 (num_resamples, num_items), rows sum to `num_items`."""
    return np.concatenate(list(_resamples(num_items, seed, num_resamples)))


def _resamples(num_items: int, seed: int, num_resamples: int) -> Iterator[np.ndarray]:
    """The rows of `resample_counts` in pieces, so that many items take little memory."""
    rng, piece = np.random.default_rng(seed), max(1, _COUNTS_AT_ONCE // max(1, num_items))
    chances = np.full(num_items, 1 / num_items)
    for start in range(0, num_resamples, piece):
        yield rng.multinomial(num_items, chances, size=min(piece, num_resamples - start))


def bootstrap_interval(
    statistic: Callable[[np.ndarray], np.ndarray], num_items: int, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """Percentile interval over items (clips).

    Args:
        statistic: weights (R, num_items) to values (R,); NaN where a resample does not define it, left out then.
        num_items: how many items there are. None gives NaN.
        seed: of the resampling; two statistics with one seed see the same resamples.
    """
    if num_items == 0:
        return Interval(np.nan, np.nan, np.nan)
    value = float(statistic(np.ones((1, num_items)))[0])
    values = np.concatenate([statistic(c.astype(float)) for c in _resamples(num_items, seed, num_resamples)])
    values = values[~np.isnan(values)]
    if np.isnan(value) or len(values) == 0:
        return Interval(value, np.nan, np.nan)
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def ratio(numerator: np.ndarray, denominator: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sum over weighted sum, (R,): a mean over tokens when items are clips with several tokens each."""
    return (weights @ numerator) / (weights @ denominator)
