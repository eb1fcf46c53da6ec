"""The statistics of paired values: McNemar's test, Newcombe's interval, bootstrap and randomisation, Holm's correction."""

from collections.abc import Sequence
from math import nan, sqrt

import numpy as np

from nemo_desta.bootstrap import NUM_RESAMPLES
from nemo_desta.evaluation.statistics import wilson_interval

__all__ = ["bootstrap", "holm", "mcnemar", "newcombe", "p_text"]

_FLIPS = 9999


def mcnemar(first_only: int, second_only: int) -> float:
    """p-value of no difference, two-sided and exact: the discordant items split like fair coins.

    Args:
        first_only, second_only: items that only one of the two has right.
    """
    from scipy.stats import binomtest

    discordant = first_only + second_only
    return float(binomtest(first_only, discordant, 0.5).pvalue) if discordant else 1.0


def newcombe(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """95 % interval of the difference of two paired proportions, Newcombe's method 10: not empty where nothing differs.

    Args:
        first, second: (N,) of 0 and 1.
    """
    n = len(first)
    both, neither = int((first * second).sum()), int(((1 - first) * (1 - second)).sum())
    one, other = wilson_interval(int(first.sum()), n), wilson_interval(int(second.sum()), n)
    phi = _phi(both, int(first.sum()) - both, int(second.sum()) - both, neither)
    below = _joined(one.value - one.low, other.high - other.value, phi)
    above = _joined(one.high - one.value, other.value - other.low, phi)
    difference = one.value - other.value
    return max(-1.0, difference - below), min(1.0, difference + above)


def _phi(both: int, first_only: int, second_only: int, neither: int) -> float:
    """Correlation of the two, continuity-corrected where it is positive."""
    margins = (both + first_only) * (second_only + neither) * (both + second_only) * (first_only + neither)
    if margins == 0:
        return 0.0
    product = both * neither - first_only * second_only
    if product > 0:
        product = max(0.0, product - (both + first_only + second_only + neither) / 2)
    return product / sqrt(margins)


def _joined(a: float, b: float, phi: float) -> float:
    return sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))


def bootstrap(strata: Sequence[np.ndarray], seed: int = 0) -> tuple[float, float, float]:
    """95 % percentile interval of the mean of strata's mean differences, and the two-sided p-value of none.

    The interval resamples each stratum within itself. The p-value is of the paired randomisation test: were the two runs
    alike, each difference could as well have the other sign (of right-or-wrong items, this is McNemar's test). It cannot be
    below 1 / (draws + 1).

    Args:
        strata: (N_i,) differences of each.

    Returns:
        low, high, p.
    """
    rng = np.random.default_rng(seed)
    drawn = np.mean([_resampled(d, rng) for d in strata], axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    found = abs(float(np.mean([d.mean() for d in strata])))
    flipped = np.mean([_flipped(d, rng) for d in strata], axis=0)
    beyond = int((np.abs(flipped) >= found - 1e-12).sum())
    return float(low), float(high), (1 + beyond) / (1 + _FLIPS)


def _resampled(differences: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means of resamples, (NUM_RESAMPLES,): how often each distinct value is drawn is all that they depend on."""
    values, counts = np.unique(differences, return_counts=True)
    n = len(differences)
    return rng.multinomial(n, counts / n, size=NUM_RESAMPLES) @ values / n


def _flipped(differences: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means with each sign drawn anew, (_FLIPS,): how many of each size are positive is all that they depend on."""
    sizes, counts = np.unique(np.abs(differences), return_counts=True)
    positive = rng.binomial(counts, 0.5, size=(_FLIPS, len(sizes)))
    return (2 * positive - counts) @ sizes / len(differences)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: the smallest of m times m, the next times m - 1, ..., never falling, at most 1."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [nan] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def p_text(p: float) -> str:
    """A p-value for a table; nothing where there is none."""
    return "" if np.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"
