"""From marked items to accuracies: of instances, and means over the instances of a task, of a dimension, of all."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nemo_desta.bootstrap import NUM_RESAMPLES
from nemo_desta.evaluation.scores import ItemScore, Metric, by_groups, mean_metric, metric
from nemo_desta.evaluation.statistics import Interval

__all__ = ["accuracies", "chance_of", "macro"]

_SOUND = "AUD"


def accuracies(items: Sequence[ItemScore]) -> list[Metric]:
    """The mean over instances first; then that of speech alone, of each dimension and task, each instance, and over all items."""
    speech = [i for i in items if i.groups.get("dimension") not in (None, _SOUND)]
    made = [macro("accuracy", "all", items)]
    if speech and len(speech) < len(items):
        note = "instances of phase 1 without the dimension audio, as papers of DeSTA's line average"
        made.append(macro("accuracy_speech", "all", speech, note))
    made += by_groups(items, ["dimension", "task"], lambda group, members: macro("accuracy", group, members))
    made += by_groups(items, ["instance"], _accuracy)
    of_items = _accuracy("all", items, "accuracy_of_items", "each item counts the same")
    made.append(of_items if made[0].chance is not None else replace(of_items, chance=None))
    return made


def macro(name: str, group: str, items: Sequence[ItemScore], note: str = "") -> Metric:
    """Mean over instances of their accuracies, the interval by bootstrap within each; of one instance, Wilson's."""
    strata: dict[str, list[ItemScore]] = {}
    for item in items:
        strata.setdefault(item.subset, []).append(item)
    chances = [chance_of(members) for members in strata.values()]
    chance = float(np.mean([c for c in chances if c is not None])) if chances and None not in chances else None
    if len(strata) == 1:
        return mean_metric(name, _values(items), group, chance=chance, note=note)
    interval = _mean_of_means([_values(members) for members in strata.values()])
    said = "; ".join(filter(None, [f"mean of {len(strata)} instances", note]))
    return metric(name, interval, len(items), group, 100.0, chance=chance, note=said)


def _mean_of_means(strata: Sequence[Sequence[float]]) -> Interval:
    """Values are 0 or 1, so a resample's number of ones is a binomial draw: the bootstrap at no cost in memory."""
    rng = np.random.default_rng(0)
    sizes, means = [len(v) for v in strata], [float(np.mean(v)) for v in strata]
    drawn = np.mean([rng.binomial(n, p, NUM_RESAMPLES) / n for n, p in zip(sizes, means, strict=True)], axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(np.mean(means)), float(low), float(high))


def _values(items: Sequence[ItemScore]) -> list[float]:
    return [i.value or 0.0 for i in items]


def chance_of(items: Sequence[ItemScore]) -> float | None:
    """What guessing gives on the items of an instance, in percent; None where the options of none could be read."""
    known = [i.chance for i in items if i.chance is not None]
    return 100 * sum(known) / len(known) if known else None


def _accuracy(group: str, items: Sequence[ItemScore], name: str = "accuracy", note: str = "") -> Metric:
    return mean_metric(name, _values(items), group, chance=chance_of(items), note=note)
