"""Counting what a self-generation made, in one pass over its rows and in memory that does not grow with them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappush, heapreplace
from typing import Any

from nemo_desta.selfgen.prompts import stable_hash
from nemo_desta.selfgen.words import seed_attributes, words

__all__ = ["Example", "Lengths", "Tally"]

_EXAMPLES = 3
_VALUES = 200  # of one attribute, and distinct causes of failure; what comes after is counted as one
_OTHERS = "(others)"
_SPECIFIC = re.compile(r"'[^']*'|\"[^\"]*\"|(?:/[^\s/:,;)]+)+/?|\b\d[\d.]*\b")


@dataclass(frozen=True)
class Example:
    """A row that a filter took, in short."""

    id: str
    seed_description: str
    prompt: str
    response: str
    matched: str


class Lengths:
    """Whole numbers: how many, their sum and quantiles."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, length: int) -> None:
        """Count one."""
        self.counts[length] += 1

    @property
    def mean(self) -> float:
        """0 when there are none."""
        return sum(n * c for n, c in self.counts.items()) / max(1, self.counts.total())

    def quantile(self, share: float) -> int:
        """The smallest length that at least this share of all do not exceed; 0 when there are none."""
        below, wanted = 0, share * self.counts.total()
        for length in sorted(self.counts):
            below += self.counts[length]
            if below >= wanted:
                return length
        return 0


@dataclass
class Tally:
    """Counts over rows.

    Attributes:
        rows: by status.
        seconds: of the clips of fit rows, each clip once, and of how many the length is known.
        clips: of fit rows, each once.
        by: what fit rows are, such as `by["kind"]["question"]`.
        attributes: of fit rows' seed descriptions, name -> value -> rows.
        words, tokens: lengths of fit responses.
        reasons: why rows were filtered.
        examples: of each reason, chosen by a hash of their ids.
        causes: why rows failed, ids, paths and numbers left out.
    """

    rows: Counter[str] = field(default_factory=Counter)
    clips: int = 0
    clips_of_known_length: int = 0
    seconds: float = 0.0
    by: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    attributes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    words: Lengths = field(default_factory=Lengths)
    tokens: Lengths = field(default_factory=Lengths)
    reasons: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    _last_cut: str | None = None
    _examples: dict[str, list[tuple[int, str, Example]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def examples(self) -> dict[str, list[Example]]:
        return {reason: [e for _, _, e in sorted(heap, reverse=True)] for reason, heap in self._examples.items()}

    def add_fit(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count rows fit to train on; those of one cut follow on each other, as self-generation writes them."""
        for row in rows:
            known = row.get("provenance") or {}
            self.rows["ok"] += 1
            self.words.add(len(words(row["response"])))
            self.tokens.add(known.get("num_tokens") or 0)
            for name in ("kind", "domain", "about", "pool", "prompt_id", "system_prompt_id", "finish_reason"):
                self.by[name][str(known.get(name) or "none")] += 1
            self.by["backbone"][
                f"{known.get('backbone')}, revision {known.get('backbone_revision') or 'not known'}"
            ] += 1
            if "review" in known:
                self.by["verdict"][known["review"]["verdict"]] += 1
            self.by["rephrased"]["yes" if "rephrased" in known else "no"] += 1
            for name, value in seed_attributes(row["seed_description"]).items():
                _count(self.attributes[name], value)
            self._add_clip(known)

    def _add_clip(self, known: Mapping[str, Any]) -> None:
        if known.get("cut") != self._last_cut:
            self._last_cut = known.get("cut")
            self.clips += 1
            if known.get("duration") is not None:
                self.clips_of_known_length += 1
                self.seconds += known["duration"]

    def add_filtered(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count rows that a filter took."""
        for row in rows:
            self.rows["filtered"] += 1
            self.reasons[row["reason"]] += 1
            known = row.get("provenance") or {}
            example = Example(
                row["id"], row["seed_description"], row["prompt"], row["response"], known.get("matched", "")
            )
            item, heap = (-stable_hash("example", row["id"]), row["id"], example), self._examples[row["reason"]]
            if len(heap) < _EXAMPLES:
                heappush(heap, item)
            elif item[:2] > heap[0][:2]:
                heapreplace(heap, item)

    def add_failed(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count rows without a response."""
        for row in rows:
            self.rows["failed"] += 1
            _count(self.causes, _SPECIFIC.sub("…", row["reason"])[:160])


def _count(counts: Counter[str], value: str) -> None:
    counts[value if value in counts or len(counts) < _VALUES else _OTHERS] += 1
