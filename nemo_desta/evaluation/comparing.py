"""Paired comparison of two runs on the same items: the difference, its interval and its p-value, overall and by group.

Right-or-wrong items are compared by McNemar's exact test (two-sided) with Newcombe's interval of a paired difference
(method 10, Statistics in Medicine 17, 1998, 2635-2650); other values by the interval of the paired bootstrap and a paired
randomisation test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import numpy as np

from nemo_desta.evaluation import paired
from nemo_desta.evaluation.pairing import Pair, pairs_of
from nemo_desta.evaluation.scores import Scores

__all__ = ["Comparison", "Paired", "compare"]

_CLOSE, _DOUBT = 0.05, 0.05
_MULTIPLE = (
    "{n} groups are compared: at 95 %, one interval in twenty misses the truth even if nothing differs; "
    "the column after Holm has p-values that allow for all {n}."
)


@dataclass(frozen=True)
class Paired:
    """One group of items, answered by both.

    Attributes:
        group: "all", or "<key>=<value>".
        n: items.
        first, second: means; 0 to 100 where `Comparison.unit` is "%".
        difference: first - second, with its 95 % interval `low` to `high`.
        p_value: two-sided, of no difference.
        p_holm: adjusted for the number of groups (Holm); NaN for "all".
        first_better, second_better: discordant items: those on which one has a higher value than the other.
        method: "mcnemar" (exact) or "bootstrap" (its p-value is of the randomisation test).
    """

    group: str
    n: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    first_better: int
    second_better: int
    method: str
    p_holm: float = nan

    @property
    def decided(self) -> int:
        """1 where the first is better beyond doubt, -1 where the second is, 0 where nothing can be said.

        Both must agree: the interval lies off 0, and p is below 0.05; of a handful of items an interval alone says too much.
        """
        sure = self.p_value < _DOUBT
        return int(sure and self.low > 0) - int(sure and self.high < 0)


@dataclass(frozen=True)
class Comparison:
    """Two runs, item by item.

    Attributes:
        benchmark, unit: of the headline.
        names: of the predictors.
        overall: all items.
        groups: each key of the items' groups, each value.
        notes: what was left out, what the figures are not.
    """

    benchmark: str
    unit: str
    names: tuple[str, str]
    overall: Paired
    groups: tuple[Paired, ...]
    notes: tuple[str, ...] = ()

    @property
    def multiple(self) -> str:
        """A warning of how many groups are compared; "" where there is at most one."""
        return _MULTIPLE.format(n=len(self.groups)) if len(self.groups) > 1 else ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON; NaN becomes None."""
        notes = [*self.notes, *filter(None, [self.multiple])]
        return {
            "benchmark": self.benchmark, "unit": self.unit, "names": list(self.names), "overall": _plain(self.overall),
            "groups": [_plain(g) for g in self.groups], "notes": notes,
        }  # fmt: skip

    def __str__(self) -> str:
        head = (
            "group",
            "n",
            "first",
            "second",
            "difference",
            "95 % interval",
            "p",
            "p (Holm)",
            "only first",
            "only second",
        )
        rows = [head, *(_row(p) for p in (self.overall, *self.groups))]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [
            "  ".join(
                c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        title = f"{self.benchmark}: first = {self.names[0]}, second = {self.names[1]}"
        return "\n".join([title, *lines, *(f"note: {n}" for n in (*self.notes, *filter(None, [self.multiple])))])


def compare(first: Scores, second: Scores, allow_partial: bool = False, seed: int = 0) -> Comparison:
    """Compare two runs item by item.

    Items are matched by id. Items without a value in one of the runs (no verdict, say) cannot be compared; they are left
    out and counted in a note.

    Args:
        first, second: of one benchmark, by one rule, on one version of the data.
        allow_partial: compare the items that both have where sets of ids, rule, judge, or version differ, with a note.
        seed: of the bootstrap.

    Raises:
        EvaluationError: the two cannot be compared; see `allow_partial`.
    """
    pairs, notes = pairs_of(first, second, allow_partial)
    scale = 100.0 if first.headline.unit == "%" else 1.0
    overall, said = _overall(pairs, first, second, scale, seed)
    groups = _with_holm([_paired(g, members, scale, seed) for g, members in _groups(pairs).items()])
    names = (_name(first), _name(second))
    return Comparison(first.benchmark, first.headline.unit, names, overall, tuple(groups), (*notes, *said))


def _overall(pairs: Sequence[Pair], first: Scores, second: Scores, scale: float, seed: int) -> tuple[Paired, list[str]]:
    """The mean over items, or over subsets' means: whichever is the headline; what neither is, is said."""
    plain = _paired("all", pairs, scale, seed)
    strata = _strata(pairs)
    candidates = [plain]
    if len(strata) > 1:
        candidates.append(_stratified(plain, strata, scale, seed))
    best = min(candidates, key=lambda c: _off(c, first, second))
    if not _off(best, first, second) > _CLOSE:
        return best, [
            "The difference is of subsets' means, each counted alike, as in the headline."
        ] if best is not plain else []
    name = first.headline.name
    undefined = np.isnan([first.headline.value, second.headline.value]).any()
    why = "is not defined in both" if undefined else "is computed otherwise: over other items, or as a mean of means"
    return plain, [f"The difference is of means over the items compared; the headline ({name}) {why}."]


def _off(found: Paired, first: Scores, second: Scores) -> float:
    gaps = [abs(found.first - first.headline.value), abs(found.second - second.headline.value)]
    return float("inf") if np.isnan(gaps).any() else max(gaps)


def _paired(group: str, pairs: Sequence[Pair], scale: float, seed: int) -> Paired:
    a, b = np.array([p.first for p in pairs]), np.array([p.second for p in pairs])
    better = int((a > b).sum()), int((a < b).sum())
    if np.isin(np.concatenate([a, b]), (0.0, 1.0)).all():
        method, (low, high) = "mcnemar", paired.newcombe(a, b)
        p_value = paired.mcnemar(*better)
    else:
        method, (low, high, p_value) = "bootstrap", paired.bootstrap([a - b], seed)
    means = float(a.mean()) * scale, float(b.mean()) * scale
    return Paired(group, len(pairs), *means, means[0] - means[1], low * scale, high * scale, p_value, *better, method)


def _stratified(plain: Paired, strata: Sequence[Sequence[Pair]], scale: float, seed: int) -> Paired:
    firsts = [np.array([p.first for p in s]) for s in strata]
    seconds = [np.array([p.second for p in s]) for s in strata]
    first, second = (scale * float(np.mean([v.mean() for v in side])) for side in (firsts, seconds))
    low, high, p_value = paired.bootstrap([a - b for a, b in zip(firsts, seconds, strict=True)], seed)
    return replace(
        plain, first=first, second=second, difference=first - second, low=low * scale, high=high * scale, p_value=p_value,
        method="bootstrap",
    )  # fmt: skip


def _strata(pairs: Sequence[Pair]) -> list[list[Pair]]:
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.subset, []).append(pair)
    return list(found.values())


def _groups(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Groups by "<key>=<value>", keys in the order of the items; of groups with the same items the first, none that has all."""
    found: dict[str, list[Pair]] = {}
    keys = dict.fromkeys(key for p in pairs for key in p.groups)
    for key in keys:
        for pair in pairs:
            if key in pair.groups:
                found.setdefault(f"{key}={pair.groups[key]}", []).append(pair)
    seen: set[frozenset[str]] = set()
    kept = {}
    for group, members in found.items():
        ids = frozenset(p.id for p in members)
        if ids not in seen and len(ids) < len(pairs):
            kept[group] = members
            seen.add(ids)
    return kept


def _with_holm(groups: Sequence[Paired]) -> list[Paired]:
    adjusted = paired.holm([g.p_value for g in groups])
    return [replace(g, p_holm=p) for g, p in zip(groups, adjusted, strict=True)]


def _name(scores: Scores) -> str:
    return str(scores.predictor.get("name") or "unnamed")


def _plain(found: Paired) -> dict[str, Any]:
    values: Mapping[str, Any] = vars(found)
    return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in values.items()}


def _row(p: Paired) -> tuple[str, ...]:
    interval = f"{p.low:+.2f} to {p.high:+.2f}"
    return (
        p.group, str(p.n), f"{p.first:.2f}", f"{p.second:.2f}", f"{p.difference:+.2f}", interval, paired.p_text(p.p_value),
        paired.p_text(p.p_holm), str(p.first_better), str(p.second_better),
    )  # fmt: skip
