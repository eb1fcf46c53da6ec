"""What a scorer found: metrics with intervals, one line an item, counts; `scores.json` and back."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nemo_desta.bootstrap import NUM_RESAMPLES
from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.statistics import Interval, bootstrap_interval, wilson_interval
from nemo_desta.files import write_json

__all__ = [
    "COUNTS",
    "ItemScore",
    "Metric",
    "Scores",
    "bootstrap_metric",
    "by_groups",
    "mean_metric",
    "metric",
    "read_scores",
    "write_scores",
]

FORMAT = 1
ALL = "all"
COUNTS = ("items", "answered", "missing", "failed", "unparsed", "refused", "fallback", "judge_failed", "unjudged")
"""items: in the denominator or left out of it by the rule; answered: have a response; missing: have none; failed: the
predictor could not answer; unparsed: no answer could be read out of the response, or no verdict out of the judge's
reply; refused: the response declines to answer; fallback: the official code would guess; judge_failed: no reply came;
unjudged: no judge was given."""


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        name: accuracy, wer, if_rate, ...; unique together with `group`.
        group: "all", or "<key>=<value>" such as "task=sound"; two keys are joined by ", ".
        value: NaN where it is not defined. Percentages are 0 to 100.
        low, high: 95 % interval.
        n: items it is computed from.
        unit: "%", "1-5", "" (a plain number).
        better: "higher" or "lower".
        chance: what guessing gives, in the same unit; None where that has no meaning.
        note: what a reader of the table should know; "".
    """

    name: str
    group: str
    value: float
    low: float
    high: float
    n: int
    unit: str = "%"
    better: str = "higher"
    chance: float | None = None
    note: str = ""


@dataclass(frozen=True)
class ItemScore:
    """What became of one item.

    Attributes:
        id, subset: of the item.
        value: its part in the headline figure, 0 to 1 for a right-or-wrong item; None: it has none of its own.
        outcome: "right", "wrong", or one word of `COUNTS` (missing, failed, unparsed, refused, fallback, judge_failed);
            "scored" for what is neither right nor wrong.
        groups: key -> value, the groups it belongs to (task, difficulty, track, ...).
        response: the text, None when there is none.
        reference: the gold answer as text.
        chance: probability that a guess is right; None where that has no meaning.
        detail: plain JSON: what was read out of the response, the judge's raw reply, the instructions checked.
    """

    id: str
    value: float | None
    outcome: str
    groups: Mapping[str, str] = field(default_factory=dict)
    subset: str = ""
    response: str | None = None
    reference: str | None = None
    chance: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """All that a rule says of a set of answers.

    Attributes:
        benchmark: name.
        rule: `Rule` as a dict.
        metrics: in the order of the table; the first is the headline.
        items: one an item, missing ones too.
        counts: `COUNTS`, those that are not zero at least; scorers may add their own.
        notes: sentences that belong beside the table (which denominator, which version, what is not official).
        data: `version` (hash of the questions) and `known_as` (name), None where they were not given; `gold` (hash of what the answers
            state of their questions), `answers` (hash of ids and responses), `differing` (how many state other facts than the data).
        judge: `Judge.describe()`, or None.
        predictor: what made the answers: {"name": ..., ...}; filled in by the command.
    """

    benchmark: str
    rule: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    items: tuple[ItemScore, ...]
    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    judge: Mapping[str, Any] | None = None
    predictor: Mapping[str, Any] = field(default_factory=dict)

    @property
    def headline(self) -> Metric:
        """The figure that stands for the benchmark."""
        return self.metrics[0]

    def find(self, name: str, group: str = ALL) -> Metric | None:
        """A metric by name and group."""
        return next((m for m in self.metrics if (m.name, m.group) == (name, group)), None)


def metric(name: str, interval: Interval, n: int, group: str = ALL, scale: float = 1.0, **rest: Any) -> Metric:
    """A metric from an interval, times `scale` (100 for percent)."""
    value, low, high = (float(v) * scale for v in (interval.value, interval.low, interval.high))
    return Metric(name, group, value, low, high, n, **rest)


def mean_metric(
    name: str, values: Sequence[float], group: str = ALL, scale: float = 100.0, seed: int = 0, **rest: Any
) -> Metric:
    """The mean over items: Wilson's interval where all values are 0 or 1, the bootstrap's elsewhere; NaN for no item."""
    array = np.asarray(values, dtype=float)
    if np.isin(array, (0.0, 1.0)).all():
        interval = wilson_interval(int(array.sum()), len(array))
    else:
        interval = bootstrap_interval(lambda w: w @ array / w.sum(axis=1), len(array), seed)
    return metric(name, interval, len(array), group, scale, **rest)


def bootstrap_metric(
    name: str, strata: Sequence[Sequence[float]], group: str = ALL, scale: float = 100.0, seed: int = 0, **rest: Any
) -> Metric:
    """The mean of the means of strata (tracks, sets), each resampled within itself; NaN where one is empty.

    Where all values are 0, or all 1, no resample differs: the interval is Wilson's then.

    Args:
        strata: the values of each stratum's items.
    """
    n = sum(map(len, strata))
    if not strata or not all(map(len, strata)):
        return metric(name, Interval(np.nan, np.nan, np.nan), n, group, scale, **rest)
    means = [np.asarray(values, dtype=float) for values in strata]
    pooled = np.concatenate(means)
    if (pooled == pooled[0]).all() and pooled[0] in (0.0, 1.0):
        return metric(name, wilson_interval(int(pooled.sum()), n), n, group, scale, **rest)
    rng = np.random.default_rng(seed)
    drawn = np.mean([rng.choice(v, (NUM_RESAMPLES, len(v))).mean(axis=1) for v in means], axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    value = float(np.mean([v.mean() for v in means]))
    return metric(name, Interval(value, float(low), float(high)), n, group, scale, **rest)


def by_groups(
    items: Iterable[ItemScore], keys: Sequence[str], make: Callable[[str, list[ItemScore]], Metric]
) -> list[Metric]:
    """`make(group, items of the group)` for each value of each key, values in the order they first appear."""
    found: dict[str, list[ItemScore]] = {}
    items = list(items)
    for key in keys:
        for item in items:
            if key in item.groups:
                found.setdefault(f"{key}={item.groups[key]}", []).append(item)
    return [make(group, members) for group, members in found.items()]


def write_scores(path: Path, scores: Scores) -> None:
    """Write scores.json, whole or not at all. NaN becomes null.

    Raises:
        SelfGenError: the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, _plain({"format": FORMAT, **asdict(scores)}))


def read_scores(path: Path) -> Scores:
    """Read scores.json.

    Raises:
        EvaluationError: it is missing, damaged, or not of this kind.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("format") != FORMAT:
            raise EvaluationError(f"{path}: written by another version of nemo-desta; score the answers again.")
        data["metrics"] = tuple(Metric(**{**m, **_numbers(m)}) for m in data["metrics"])
        data["items"] = tuple(ItemScore(**i) for i in data["items"])
        return Scores(**{**data, "notes": tuple(data["notes"])})
    except OSError as err:
        raise EvaluationError(
            f"{path}: cannot be read ({err}); give what `nemo-desta eval score --json` wrote."
        ) from err
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        if isinstance(err, EvaluationError):
            raise
        raise EvaluationError(f"{path}: is no scores file ({err}); give what `nemo-desta eval score` wrote.") from err


def _numbers(found: Mapping[str, Any]) -> dict[str, float]:
    return {k: float("nan") if found[k] is None else found[k] for k in ("value", "low", "high")}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
