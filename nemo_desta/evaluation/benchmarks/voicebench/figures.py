"""From scored items to VoiceBench's figures: the nine of the leaderboard, their groups, and the overall mean."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import hypot, isnan, nan
from typing import Any

import numpy as np

from nemo_desta.bootstrap import bootstrap_interval, ratio
from nemo_desta.evaluation.benchmarks.voicebench.sets import FIGURES, SETS, Figure
from nemo_desta.evaluation.scores import ItemScore, Metric, by_groups, mean_metric, metric

__all__ = ["all_metrics"]

Items = Sequence[ItemScore]


def all_metrics(items: Items) -> list[Metric]:
    """Overall, the nine, and then their parts: groups, halves, figures without credit for guesses.

    A figure of which there are no answers, or no verdicts, is NaN and says so in its note; so is `overall` then.
    """
    by_set = {name: [i for i in items if i.subset == name] for name in SETS}
    nine = [_figure(figure, by_set) for figure in FIGURES]
    parts = [m for name, members in by_set.items() if members for m in _parts(name, members)]
    return [_overall(nine, len(items)), *nine, *parts]


def _figure(figure: Figure, by_set: dict[str, list[ItemScore]]) -> Metric:
    name = next((s for s in figure.sets if by_set[s]), None)
    if name is None:
        return Metric(figure.name, "all", nan, nan, nan, 0, _unit(figure.sets[0]), note="no answers")
    made = _MAIN[SETS[name].rule](figure.name, "all", by_set[name])
    notes = [f"of {name}"] if len(figure.sets) > 1 else []
    return replace(made, note="; ".join([*notes, *filter(None, [made.note, _completeness(by_set[name])])]))


def _overall(nine: Sequence[Metric], n: int) -> Metric:
    """Mean of the nine, scales times 20; the interval from the nine intervals, whose errors are taken as independent."""
    weights = {f.name: f.weight for f in FIGURES}
    lacking = [f"{m.name} ({m.note.split(';')[0] or 'not defined'})" for m in nine if isnan(m.value)]
    if lacking:
        return Metric(
            "overall", "all", nan, nan, nan, n, note=f"not computed, it is the mean of nine: {', '.join(lacking)}"
        )
    value = sum(weights[m.name] * m.value for m in nine) / len(nine)
    below = hypot(*(weights[m.name] * (m.value - m.low) for m in nine)) / len(nine)
    above = hypot(*(weights[m.name] * (m.high - m.value) for m in nine)) / len(nine)
    note = "INCOMPLETE: see the notes of the nine" if any("INCOMPLETE" in m.note for m in nine) else ""
    return Metric("overall", "all", value, value - below, value + above, n, note=note)


def _unit(name: str) -> str:
    return "1-5" if SETS[name].rule == "open" else "%"


def _completeness(items: Items) -> str:
    lost = sum(i.value is None and i.outcome in ("judge_failed", "unparsed") for i in items)
    unread = sum(i.detail.get("unread", 0) for i in items)
    waiting = sum(i.outcome == "unjudged" for i in items)
    said = []
    if lost or unread:
        said.append(
            f"INCOMPLETE: {lost} OF {len(items)} ITEMS HAVE NO VERDICT, {unread} REPLIES CANNOT BE READ; they are left out"
        )
    if waiting and waiting < len(items):
        said.append(f"INCOMPLETE: {waiting} OF {len(items)} ITEMS WERE NOT JUDGED; they are left out")
    return "; ".join(said)


def _no_verdicts(items: Items) -> bool:
    """Whether a judge is wanted and none has said a word: what is missing would then stand for all."""
    return any(i.outcome in ("unjudged", "judge_failed") for i in items) and not any("judge" in i.detail for i in items)


def _open(name: str, group: str, items: Items) -> Metric:
    rated = [i.detail["ratings"] for i in items if i.detail.get("ratings") and not _no_verdicts(items)]
    note = "" if rated else "not scored: no verdicts of a judge"
    sums, counts = [sum(r) for r in rated], [len(r) for r in rated]
    return _ratio(name, sums, counts, group, unit="1-5", note=note)


def _ratio(name: str, sums: Sequence[float], counts: Sequence[float], group: str, **rest: Any) -> Metric:
    above, below = np.asarray(sums, dtype=float), np.asarray(counts, dtype=float)
    interval = bootstrap_interval(lambda w: ratio(above, below, w), len(above))
    return metric(name, interval, len(above), group, **rest)


def _accuracy(name: str, group: str, items: Items) -> Metric:
    guessed = sum(i.outcome == "fallback" for i in items)
    note = (
        f"{guessed} of {len(items)} have no answer that can be read: the expectation of the official guess"
        if guessed
        else ""
    )
    return mean_metric(name, [i.value or 0.0 for i in items], group, chance=_chance(items), note=note)


def _without_credit(name: str, items: Items) -> Metric:
    values = [0.0 if i.outcome == "fallback" else i.value or 0.0 for i in items]
    return mean_metric(f"{name}_strict", values, note="ours: an answer that cannot be read is wrong")


def _chance(items: Items) -> float | None:
    known = [i.chance for i in items if i.chance is not None]
    return 100 * sum(known) / len(known) if known else None


def _refusals(name: str, group: str, items: Items) -> Metric:
    return mean_metric(name, [i.value or 0.0 for i in items], group, note="refusal rate")


def _followed(name: str, group: str, items: Items) -> Metric:
    """Mean of four shares: of prompts whose instructions are all followed and of instructions, strict and loose."""
    columns = [_shares(items, level, kind) for kind in ("strict", "loose") for level in ("prompt", "instruction")]

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.mean([ratio(above, below, weights) for above, below in columns], axis=0)

    return metric(name, bootstrap_interval(statistic, len(items)), len(items), group, 100.0)


def _shares(items: Items, level: str, kind: str) -> tuple[np.ndarray, np.ndarray]:
    followed = [i.detail[kind] for i in items]
    if level == "prompt":
        return np.array([float(all(f)) for f in followed]), np.ones(len(followed))
    return np.array([float(sum(f)) for f in followed]), np.array([float(len(f)) for f in followed])


def _spoken(name: str, group: str, items: Items) -> Metric:
    """sd-qa: mean of the two halves, of the regions' means where there are several."""
    halves = [_known(items, key) for key in _LACKING]
    lacking = [why for why, known in zip(_LACKING.values(), halves, strict=True) if not known]
    note = f"not scored: {', '.join(lacking)}" if lacking else _regions_note(items) if group == "all" else ""
    both = [n for n in range(len(items)) if all(n in known for known in halves)]
    return _by_region(name, [(items[n], sum(known[n] for known in halves) / 2) for n in both], group, note)


def _known(items: Items, key: str) -> dict[int, float]:
    """Place in `items` -> its value in one half."""
    if key == "gpt" and _no_verdicts(items):
        return {}
    return {n: i.detail[key] for n, i in enumerate(items) if i.detail.get(key) is not None}


def _half(key: str) -> Callable[[str, Items], Metric]:
    def make(group: str, items: Items) -> Metric:
        return _by_region(key, [(items[n], v) for n, v in _known(items, key).items()], group, _HALVES[key])

    return make


_LACKING = {"panda": "PEDANT was not given", "gpt": "no verdicts of a judge"}
_HALVES = {
    "gpt": "the judge's half of sd-qa, not sd-qa",
    "panda": "PEDANT's half of sd-qa, not sd-qa",
    "substring": "ours: answers that hold the reference; PEDANT counts these at least, so a lower bound of panda",
}


def _by_region(name: str, pairs: Iterable[tuple[ItemScore, float]], group: str, note: str) -> Metric:
    """Mean of the regions' means; the same question in several accents is resampled as one."""
    pairs = list(pairs)
    if len({_region(i) for i, _ in pairs}) == 1 and len({i.detail["instruction"] for i, _ in pairs}) == len(pairs):
        return mean_metric(name, [value for _, value in pairs], group, note=note)
    sizes: dict[str, int] = {}
    for item, _ in pairs:
        sizes[_region(item)] = sizes.get(_region(item), 0) + 1
    sums: dict[str, float] = {}
    parts: dict[str, float] = {}
    for item, value in pairs:
        question, part = item.detail["instruction"], 1 / (len(sizes) * sizes[_region(item)])
        sums[question] = sums.get(question, 0.0) + part * value
        parts[question] = parts.get(question, 0.0) + part
    made = _ratio(name, list(sums.values()), list(parts.values()), group, scale=100.0, note=note)
    return replace(made, n=len(pairs))


def _region(item: ItemScore) -> str:
    return item.groups.get("region", "")


def _regions_note(items: Items) -> str:
    regions = list(dict.fromkeys(map(_region, items)))
    which = f"mean of {len(regions)} regions" if len(regions) > 1 else f"region {regions[0] or 'not stated'}"
    return f"{which}; the leaderboard does not say which of 11 it reports"


_MAIN: dict[str, Callable[[str, str, Items], Metric]] = {
    "open": _open, "qa": _spoken, "mcq": _accuracy, "bbh": _accuracy, "harm": _refusals, "ifeval": _followed,
}  # fmt: skip


def _parts(name: str, items: Items) -> list[Metric]:
    rule = SETS[name].rule
    main = _MAIN[rule]
    column = next((f.name for f in FIGURES if name in f.sets), name)
    keys = [SETS[name].group] if SETS[name].group else ["task"] if rule == "bbh" else []
    made = [
        replace(m, note=m.note or _completeness(items)) for m in [main(column, f"set={name}", items)] if rule == "open"
    ]
    made += by_groups(items, keys, lambda group, members: main(column, group, members))
    if rule in ("mcq", "bbh"):
        made.append(_without_credit(name, items))
    if rule == "qa":
        for key in _HALVES:
            made += [_half(key)("all", items), *by_groups(items, keys, _half(key))]
    if rule == "ifeval":
        made += [_share(items, level, kind) for kind in ("strict", "loose") for level in ("prompt", "instruction")]
    return [m for m in made if m.n or m.group == "all"]


def _share(items: Items, level: str, kind: str) -> Metric:
    above, below = _shares(items, level, kind)
    if level == "prompt":
        return mean_metric(f"ifeval_{kind}_{level}", above.tolist())
    return _ratio(f"ifeval_{kind}_{level}", above, below, "all", scale=100.0)
