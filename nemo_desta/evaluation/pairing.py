"""Which items of two runs belong together, and whether the two runs may be compared at all."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.items import unique
from nemo_desta.evaluation.scores import ItemScore, Scores

__all__ = ["Pair", "pairs_of"]


@dataclass(frozen=True)
class Pair:
    """One item with its value in both runs.

    Attributes:
        id, subset, groups: as `ItemScore`, of the first run.
        first, second: values.
    """

    id: str
    subset: str
    groups: Mapping[str, str]
    first: float
    second: float


def pairs_of(first: Scores, second: Scores, allow_partial: bool = False) -> tuple[list[Pair], list[str]]:
    """Items matched by id, and notes on what does not match.

    Args:
        allow_partial: what differs becomes a note, not an error.

    Raises:
        EvaluationError: another benchmark, an id there twice, nothing in common; without `allow_partial` also another rule,
            judge, version of the data, gold answer, or set of ids.
    """
    if first.benchmark != second.benchmark:
        raise EvaluationError(
            f"{first.benchmark} and {second.benchmark} are different benchmarks; compare runs of one."
        )
    for scores, which in ((first, "first"), (second, "second")):
        unique(scores.items, f"{which} run ({scores.predictor.get('name') or 'unnamed'})")
    other = {i.id: i for i in second.items}
    matched = [(i, other[i.id]) for i in first.items if i.id in other]
    differing = [*_settings(first, second), *_gold(matched), *_ids(first, second)]
    if differing and not allow_partial:
        raise EvaluationError(
            f"the runs are not of one kind: {'; '.join(differing)}. Score both alike, or compare what they have in common with "
            "allow_partial (--allow-partial)."
        )
    notes = [f"NOT THE SAME IN BOTH: {d}." for d in differing]
    valued = [(a, b) for a, b in matched if a.value is not None and b.value is not None]
    if not valued:
        raise EvaluationError("the two runs have no item in common that both have a value for.")
    left_out = [(a, b) for a, b in matched if (a.value is None) != (b.value is None)]
    if left_out:
        a, b = left_out[0]
        notes.append(
            f"{len(left_out)} items have a value in one run alone and are left out (first: {a.id}, {a.outcome} and {b.outcome})."
        )
    return [Pair(a.id, a.subset, a.groups, float(a.value or 0), float(b.value or 0)) for a, b in valued], notes


def _settings(first: Scores, second: Scores) -> Iterator[str]:
    pairs: list[tuple[str, Any, Any]] = [
        ("rule", first.rule.get("name"), second.rule.get("name")),
        ("version of the rule", first.rule.get("version"), second.rule.get("version")),
        ("judge", (first.judge or {}).get("model"), (second.judge or {}).get("model")),
    ]
    for what, a, b in pairs:
        if a != b:
            yield f"{what}: {a} and {b}"
    a, b = first.data.get("version"), second.data.get("version")
    if a and b and a != b:
        yield f"version of the data: {_version(first)} and {_version(second)}"


def _version(scores: Scores) -> str:
    known = scores.data.get("known_as")
    return f"{known or 'unknown'} ({str(scores.data.get('version'))[:12]})"


def _gold(matched: list[tuple[ItemScore, ItemScore]]) -> Iterator[str]:
    changed = [a.id for a, b in matched if a.reference != b.reference and None not in (a.reference, b.reference)]
    if changed:
        yield f"gold answers of {len(changed)} items (first: {changed[0]})"


def _ids(first: Scores, second: Scores) -> Iterator[str]:
    ours, theirs = {i.id for i in first.items}, {i.id for i in second.items}
    if ours == theirs:
        return
    lone = next(
        iter([i.id for i in first.items if i.id not in theirs] or [i.id for i in second.items if i.id not in ours])
    )
    yield f"items: {len(ours - theirs)} only in the first, {len(theirs - ours)} only in the second (one: {lone!r}), {len(ours & theirs)} in both"
