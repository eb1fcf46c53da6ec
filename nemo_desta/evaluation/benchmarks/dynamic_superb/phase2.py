"""Phase 2's figures, as reviews of its paper describe them; no official code could be read, so none of this is verified.

Classification: share of answers that a judge finds to state the gold answer. Regression: the metric over the numbers that a judge
reads out of the answers; where it reads none (N/A), an ascending metric is multiplied by the share of numbers, a descending one
divided by it. Generation: WER, CER or PER of the raw text. A domain's score: mean over tasks of the relative improvement over a
baseline; tasks whose baseline is zero are left out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, isfinite, nan

import numpy as np
from scipy.stats import kendalltau, pearsonr, rankdata

from nemo_desta.evaluation.benchmarks.dynamic_superb.accuracy import chance_of
from nemo_desta.evaluation.benchmarks.dynamic_superb.instances import instance, listed
from nemo_desta.evaluation.benchmarks.dynamic_superb.marking import Question
from nemo_desta.evaluation.scores import ItemScore, Metric, Scores, mean_metric, metric
from nemo_desta.evaluation.word_errors import Unit, error_rate

__all__ = ["DESCENDING", "figure", "relative"]

DESCENDING = ("mse", "mae", "wer", "cer", "per")
_UNITS: Mapping[str, Unit] = {"wer": "word", "cer": "character", "per": "word"}
_RESAMPLES = 1000
Pairs = tuple[np.ndarray, np.ndarray]


def _correlation(of: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[np.ndarray, np.ndarray], float]:
    def safe(said: np.ndarray, gold: np.ndarray) -> float:
        if len(said) < 2 or np.ptp(said) == 0 or np.ptp(gold) == 0:
            return nan
        return float(of(said, gold))

    return safe


_REGRESSION: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "mse": lambda said, gold: float(np.mean((said - gold) ** 2)) if len(said) else nan,
    "mae": lambda said, gold: float(np.mean(np.abs(said - gold))) if len(said) else nan,
    "lcc": _correlation(lambda said, gold: pearsonr(said, gold)[0]),
    "pcc": _correlation(lambda said, gold: pearsonr(said, gold)[0]),
    "srcc": _correlation(lambda said, gold: pearsonr(rankdata(said), rankdata(gold))[0]),
    "ktau": _correlation(lambda said, gold: kendalltau(said, gold)[0]),
}


def figure(questions: Sequence[Question], items: Sequence[ItemScore]) -> Metric:
    """The figure of one instance; NaN, with the reason in its note, where there is none.

    Args:
        questions, items: of one instance, in one order.
    """
    first = questions[0]
    group, name = f"instance={first.about.name}", first.metric or "score"
    waiting = sum(i.outcome == "unjudged" for i in items)
    if first.kind == "sound" or first.metric is None:
        why = "the answer is audio" if first.kind == "sound" else "its metric is not known; state it in instance.json"
        return _none(name, group, len(items), f"not scored: {why}")
    if name not in (*_REGRESSION, *_UNITS, "accuracy"):
        return _none(name, group, len(items), f"not scored: {name} is not computed here")
    if waiting:
        return _none(name, group, len(items), f"not scored: {waiting} of {len(items)} answers were not judged")
    if name == "accuracy":
        return mean_metric("accuracy", [i.value or 0.0 for i in items], group, chance=chance_of(items))
    return _generation(name, group, items) if name in _UNITS else _regression(name, group, items)


def _none(name: str, group: str, n: int, note: str) -> Metric:
    return Metric(name, group, nan, nan, nan, n, unit="", note=note)


def _generation(name: str, group: str, items: Sequence[ItemScore]) -> Metric:
    """An item without an answer is an empty one: all of its reference is missing."""
    rate = error_rate([i.reference or "" for i in items], [i.response or "" for i in items], _UNITS[name])
    note = "raw text"
    if rate.empty:
        note += f"; {rate.empty} references are empty, what is said there counts as insertions"
    return metric(name, rate.corpus, len(items), group, 100.0, better="lower", note=note)


def _regression(name: str, group: str, items: Sequence[ItemScore]) -> Metric:
    said = np.array([i.detail["parsed"] if isinstance(i.detail.get("parsed"), float) else nan for i in items])
    gold = np.array([float(i.reference or nan) for i in items])
    value, lacking = _punished(name, said, gold), int(np.isnan(said).sum())
    rng = np.random.default_rng(0)
    drawn = [_punished(name, said[k], gold[k]) for k in rng.integers(len(items), size=(_RESAMPLES, len(items)))]
    kept = [v for v in drawn if isfinite(v)]
    low, high = np.quantile(kept, [0.025, 0.975]) if kept and isfinite(value) else (nan, nan)
    note = f"N/A {lacking} of {len(items)}"
    if value == inf:
        value, note = nan, f"{note}: no number was given at all, the worst there is"
    better = "lower" if name in DESCENDING else "higher"
    return Metric(name, group, value, float(low), float(high), len(items), unit="", better=better, note=note)


def _punished(name: str, said: np.ndarray, gold: np.ndarray) -> float:
    """The metric over the numbers, made worse by the share of answers that give none."""
    given = ~np.isnan(said)
    share = float(given.mean())
    if share == 0:
        return inf if name in DESCENDING else 0.0
    value = _REGRESSION[name](said[given], gold[given])
    return value / share if name in DESCENDING else value * share


def relative(own: Sequence[Metric], baseline: Scores) -> tuple[list[Metric], list[str]]:
    """Mean relative improvement over a baseline, over all tasks and over those of each dimension, and notes on what is left out.

    Folds of one task are averaged first; a task is left out where one of its folds has no figure. The baseline's figures are those of
    the same name in its scores.json.

    Args:
        own: figures of instances.
    """
    gains: dict[str, float] = {}
    zero, lacking = [], []
    tasks = _tasks(own)
    for task, members in tasks.items():
        others = [baseline.find(m.name, m.group) for m in members]
        value = float(np.mean([m.value for m in members]))
        before = float(np.mean([nan if b is None else b.value for b in others]))
        if not (isfinite(value) and isfinite(before)):
            lacking.append(task)
        elif before == 0:
            zero.append(task)
        else:
            sign = -1.0 if members[0].name in DESCENDING else 1.0
            gains[task] = sign * (value - before) / before
    notes = [f"Left out of the relative score, since the baseline has 0: {', '.join(zero)}."] if zero else []
    if lacking:
        notes.append(f"Left out of the relative score, since one of the two has no figure: {', '.join(lacking)}.")
    absent = [t for t in _tasks(m for m in baseline.metrics if m.group.startswith("instance=")) if t not in tasks]
    if absent:
        notes.append(f"The baseline has {len(absent)} tasks more than these answers: {listed(absent)}.")
    return [_mean_gain("all", gains), *_by_dimension(gains)], notes


def _tasks(own: Iterable[Metric]) -> dict[str, list[Metric]]:
    found: dict[str, list[Metric]] = {}
    for each in own:
        found.setdefault(instance(each.group.removeprefix("instance=")).whole, []).append(each)
    return found


def _by_dimension(gains: Mapping[str, float]) -> list[Metric]:
    found: dict[str, dict[str, float]] = {}
    for task, gain in gains.items():
        dimension = instance(task).dimension
        if dimension:
            found.setdefault(f"dimension={dimension}", {})[task] = gain
    return [_mean_gain(group, members) for group, members in found.items()]


def _mean_gain(group: str, gains: Mapping[str, float]) -> Metric:
    note = "mean relative improvement over the baseline; n: tasks; no interval, the tasks are all there are"
    value = 100 * float(np.mean(list(gains.values()))) if gains else nan
    return Metric("relative", group, value, nan, nan, len(gains), note=note)
