"""From numbers to words: thresholds learnt from a corpus, kept in a file, used for any other.

Numbers come rounded (`measure.DIGITS`), so a corpus holds few distinct ones: counting them gives exact quantiles, whatever
the order, in memory that does not grow with the corpus.
"""

import json
import math
import os
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, combinations
from pathlib import Path
from typing import Any

from nemo_desta.attributes.config import WordRule
from nemo_desta.errors import ConfigError

__all__ = ["Group", "Learner", "Thresholds", "quantile", "word_of"]

Group = tuple[tuple[str, str], ...]
"""The known values of a rule's `per` fields: (("gender", "Female"),); () is all clips."""
_Key = tuple[str, str, Group]  # field, measure, group


def quantile(counts: Mapping[float, int], share: float) -> float:
    """The quantile of values given as value -> how often, interpolated as numpy's default does."""
    values = sorted(counts)
    ends = list(accumulate(counts[v] for v in values))  # how many numbers are at most that large
    place = (ends[-1] - 1) * share
    low, high = (values[bisect_right(ends, rank)] for rank in (math.floor(place), math.ceil(place)))
    return low + (high - low) * (place - math.floor(place))


def word_of(value: float, edges: Sequence[float], words: Sequence[str]) -> str:
    """The word of a number. A number on a limit belongs below it; on several equal limits, half-way between them."""
    return words[(bisect_left(edges, value) + bisect_right(edges, value)) // 2]


class Learner:
    """Counts the numbers of a corpus, for each rule and group of its `per` fields."""

    def __init__(self, rules: Mapping[str, WordRule]) -> None:
        self.rules = rules
        self._counts: dict[_Key, Counter[float]] = {}

    def add(self, measures: Mapping[str, float], groups: Mapping[str, Group]) -> None:
        """Count one span: its numbers, and its group in each rule."""
        for name, rule in self.rules.items():
            measure = next((m for m in rule.measures if m in measures), None)
            if measure is None or rule.quantiles is None:
                continue
            known = groups[name]
            for size in range(len(known) + 1):
                for group in combinations(known, size):
                    self._counts.setdefault((name, measure, group), Counter())[measures[measure]] += 1

    def thresholds(self, min_values: int) -> "Thresholds":
        """Limits of every group with at least `min_values` numbers that are not all alike; None for the others."""
        edges: dict[_Key, list[float] | None] = {}
        sizes: dict[_Key, int] = {}
        for key, counts in sorted(self._counts.items()):
            sizes[key] = sum(counts.values())
            found = [round(quantile(counts, q), 6) for q in self.rules[key[0]].quantiles]
            differ = len(counts) > 1 and (len(found) == 1 or found[0] < found[-1])
            edges[key] = found if sizes[key] >= min_values and differ else None
        return Thresholds(self.rules, edges, sizes)


class Thresholds:
    """The limits between words.

    Args:
        rules: field -> rule.
        edges: (field, measure, group) -> limits; None where the corpus gave none.
        sizes: numbers that each was learnt from.
    """

    def __init__(
        self, rules: Mapping[str, WordRule], edges: Mapping[_Key, list[float] | None], sizes: Mapping[_Key, int]
    ) -> None:
        self.rules, self._edges, self._sizes = rules, edges, sizes

    def word(self, field: str, measures: Mapping[str, float], group: Group) -> str | None:
        """The word of one span; None where it has no such number, or its group no limits."""
        rule = self.rules[field]
        measure = next((m for m in rule.measures if m in measures), None)
        if measure is None:
            return None
        edges = rule.edges if rule.edges is not None else self._edges.get((field, measure, group))
        return None if edges is None else word_of(measures[measure], edges, rule.words)

    def gaps(self) -> Iterator[str]:
        """One message for each group that has no limits."""
        for (field, measure, group), edges in self._edges.items():
            if edges is None:
                whose = ", ".join(f"{k} {v}" for k, v in group) or "all clips"
                yield f"{field}: no words for {whose}; {self._sizes[field, measure, group]} values of {measure} are too few or too alike"

    def to_dict(self) -> dict[str, Any]:
        """What thresholds.json holds."""
        return {
            name: {
                "words": rule.words,
                "quantiles": rule.quantiles,
                "per": rule.per,
                "groups": [
                    {"measure": m, "group": dict(group), "values": self._sizes[f, m, group], "edges": edges}
                    for (f, m, group), edges in self._edges.items()
                    if f == name
                ],
            }
            for name, rule in self.rules.items()
            if rule.quantiles is not None
        }

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], rules: Mapping[str, WordRule]) -> "Thresholds":
        """Limits that another run learnt.

        Raises:
            ConfigError: the file is missing, damaged, or was learnt with other rules.
        """
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as err:
            raise ConfigError(
                f"thresholds={path}: not readable ({err}); give a thresholds.json of another run."
            ) from err
        edges, sizes = {}, {}
        for name, rule in rules.items():
            if rule.quantiles is None:
                continue
            mine = {"words": rule.words, "quantiles": rule.quantiles, "per": rule.per}
            entry = stored.get(name) if isinstance(stored, dict) else None
            if not isinstance(entry, dict) or {k: entry.get(k) for k in mine} != mine:
                raise ConfigError(
                    f"thresholds={path}: was learnt with other rules for {name!r} than words.{name}; use the same words, quantiles and per."
                )
            for group in entry.get("groups") or ():
                key, found, size = _group_of(group, name, rule, path)
                edges[key], sizes[key] = found, size
        return cls(rules, edges, sizes)


def _group_of(entry: Any, name: str, rule: WordRule, path: Any) -> tuple[_Key, list[float] | None, int]:
    """Key, limits and size of one stored group."""
    try:
        measure, group, found, size = entry["measure"], entry["group"], entry["edges"], int(entry["values"])
        key = (name, measure, tuple((k, group[k]) for k in rule.per if k in group))
        ascending = found is None or (
            len(found) == len(rule.words) - 1 and all(math.isfinite(x) for x in found) and found == sorted(found)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise ConfigError(f"thresholds={path}: {name}: damaged ({type(err).__name__}: {err}); learn it again.") from err
    if not ascending or measure not in rule.measures:
        raise ConfigError(f"thresholds={path}: {name}: {entry!r} are no limits for {len(rule.words)} words.")
    return key, found, size
