"""Accuracy, AUC and bootstrap intervals. NumPy only.

Every statistic takes `weights`, how often each item counts, so that all bootstrap resamples are computed at once:
a resample is a row of counts (Efron's bootstrap; percentile intervals).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import sqrt

import numpy as np

__all__ = [
    "Interval",
    "accuracy",
    "auc",
    "bootstrap_interval",
    "macro_auc",
    "ratio",
    "resample_counts",
    "wilson_interval",
]

NUM_RESAMPLES = 2000
_Z95 = 1.959964


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
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_items, np.full(num_items, 1 / num_items), size=num_resamples)


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
    values = statistic(resample_counts(num_items, seed, num_resamples).astype(float))
    values = values[~np.isnan(values)]
    if np.isnan(value) or len(values) == 0:
        return Interval(value, np.nan, np.nan)
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def wilson_interval(num_right: int, num_items: int) -> Interval:
    """Wilson's score interval of a proportion; not empty even at 0 and at 1."""
    if num_items == 0:
        return Interval(np.nan, np.nan, np.nan)
    p, n, z2 = num_right / num_items, num_items, _Z95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half))


def ratio(numerator: np.ndarray, denominator: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sum over weighted sum, (R,): a mean over tokens when items are clips with several tokens each."""
    return (weights @ numerator) / (weights @ denominator)


def accuracy(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of items whose best-scored class is their label.

    Args:
        scores: (N, K). A tie counts by halves, thirds, ...: no class is favoured for standing first.
        labels: (N,) class numbers.
        weights: (R, N); None for one row of ones.

    Returns:
        (R,) float64.
    """
    best = scores == scores.max(axis=1, keepdims=True)
    right = best[np.arange(len(labels)), labels] / best.sum(axis=1)
    return _weights(weights, len(labels)) @ right / _weights(weights, len(labels)).sum(axis=1)


def auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve: the chance that a positive item scores above a negative one, ties counting half.

    Args:
        scores: (N,).
        positive: (N,) booleans.
        weights: (R, N); None for one row of ones.

    Returns:
        (R,) float64, NaN where a class is absent.
    """
    weights = _weights(weights, len(scores))
    pairs = np.sign(scores[positive][:, None] - scores[~positive][None, :]) / 2 + 0.5  # (P, M)
    up, down = weights[:, positive], weights[:, ~positive]
    total = up.sum(axis=1) * down.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, ((up @ pairs) * down).sum(axis=1) / total, np.nan)


def macro_auc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean over classes of one-versus-rest AUC; with two classes, the AUC.

    A class is scored by its log-odds against the others, s_k - logsumexp(s_others), so that what shifts all choices
    of an item together (its length, its topic) cannot count. Classes without items are left out of the mean.

    Args:
        scores: (N, K) log-probabilities, K >= 2.
        labels: (N,) class numbers.
        weights: (R, N); None for one row of ones.

    Returns:
        (R,) float64.
    """
    present = [k for k in range(scores.shape[1]) if (labels == k).any()]
    if len(present) < 2:
        return np.full(len(_weights(weights, len(labels))), np.nan)
    columns = present[:1] if scores.shape[1] == 2 else present
    return np.mean([auc(_log_odds(scores, k), labels == k, weights) for k in columns], axis=0)


def _log_odds(scores: np.ndarray, k: int) -> np.ndarray:
    return scores[:, k] - np.logaddexp.reduce(np.delete(scores, k, axis=1), axis=1)


def _weights(weights: np.ndarray | None, num_items: int) -> np.ndarray:
    return np.ones((1, num_items)) if weights is None else np.asarray(weights, dtype=float)
