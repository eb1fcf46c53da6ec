"""Accuracy and AUC, and the intervals of proportions. NumPy only.

Every statistic takes `weights`, how often each item counts, for the bootstrap (see `nemo_desta.bootstrap`).
"""

from math import sqrt

import numpy as np

from nemo_desta.bootstrap import Interval, bootstrap_interval, ratio, resample_counts

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

_Z95 = 1.959964


def wilson_interval(num_right: int, num_items: int) -> Interval:
    """Wilson's score interval of a proportion; not empty even at 0 and at 1."""
    if num_items == 0:
        return Interval(np.nan, np.nan, np.nan)
    p, n, z2 = num_right / num_items, num_items, _Z95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half))


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
