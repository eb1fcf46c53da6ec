"""IFrate, its parts, its groups and Delta, with intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nemo_desta.bootstrap import NUM_RESAMPLES
from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.scores import (
    ItemScore,
    Metric,
    bootstrap_metric,
    by_groups,
    mean_metric,
    metric,
    read_scores,
)
from nemo_desta.evaluation.statistics import Interval

__all__ = ["IFRATE", "delta", "following", "groups"]

IFRATE = ("closed", "creative", "cot")
_UNDEFINED = Interval(np.nan, np.nan, np.nan)


def following(items: Sequence[ItemScore], unjudged: int) -> list[Metric]:
    """IFrate and the following rates of the three parts, in percent.

    Args:
        unjudged: chain-of-thought answers without a verdict; if there is one, cot and IFrate are NaN.
    """
    values = _values(items)
    rate = bootstrap_metric("if_rate", [values[p] for p in IFRATE], note="mean of closed, creative and cot")
    parts = [mean_metric(p, values[p]) for p in IFRATE]
    if unjudged:
        rate, parts[2] = (metric(m.name, _UNDEFINED, m.n, note="verdicts are missing") for m in (rate, parts[2]))
    return [rate, *parts]


def groups(items: Sequence[ItemScore]) -> list[Metric]:
    """Following rates by the official groups of instructions, and by instruction."""
    ruled = [i for i in items if i.subset in ("closed", "creative")]
    return by_groups(ruled, ["group", "instruction"], lambda g, found: mean_metric("followed", _of(found), g))


def delta(items: Sequence[ItemScore], unjudged: int, reference: str | None) -> list[Metric]:
    """Forgetting rate: (IFrate - IFrate of the reference) / IFrate of the reference, in percent; below 0 is forgotten.

    The interval draws the same questions for both runs where both answered the same ones.

    Args:
        reference: scores.json of the text-only LLM on the same questions; None: no such metric.

    Raises:
        EvaluationError: the file is no scores of this benchmark, or has no IFrate.
    """
    if reference is None:
        return []
    theirs = read_scores(Path(reference))
    stated = theirs.find("if_rate")
    if theirs.benchmark != "speech_ifeval" or stated is None or not stated.value > 0:
        raise EvaluationError(
            f"{reference}: holds no IFrate of speech_ifeval; score the reference run with its chain-of-thought verdicts first."
        )
    ours, base = _values(items), _values(theirs.items)
    n = sum(len(ours[p]) for p in IFRATE)
    note = f"against {theirs.predictor.get('name') or reference}: {stated.value:.2f}"
    if unjudged or not all(len(ours[p]) for p in IFRATE):
        return [metric("delta", _UNDEFINED, n, note=f"{note}; needs all three parts")]
    rate = float(np.mean([np.mean(ours[p]) for p in IFRATE]))
    value = (100 * rate - stated.value) / stated.value
    if not all(len(base[p]) for p in IFRATE):
        return [metric("delta", Interval(value, np.nan, np.nan), n, scale=100, note=note)]
    drawn, other = _drawn(ours), _drawn(base)
    low, high = np.quantile((drawn - other) / other, [0.025, 0.975])
    return [metric("delta", Interval(value, float(low), float(high)), n, scale=100, note=note)]


def _drawn(values: Mapping[str, Sequence[float]]) -> np.ndarray:
    """IFrates of resamples, (NUM_RESAMPLES,); the same questions for two runs with as many of them in each part."""
    means = []
    for seed, part in enumerate(IFRATE):
        array = np.asarray(values[part])
        chosen = np.random.default_rng(seed).integers(0, len(array), (NUM_RESAMPLES, len(array)))
        means.append(array[chosen].mean(axis=1))
    return np.mean(means, axis=0)


def _values(items: Sequence[ItemScore]) -> dict[str, list[float]]:
    """The values of each part, in the order of the ids."""
    ordered = sorted(items, key=lambda i: i.id)
    return {part: _of([i for i in ordered if i.subset == part]) for part in IFRATE}


def _of(items: Sequence[ItemScore]) -> list[float]:
    return [i.value or 0.0 for i in items]
