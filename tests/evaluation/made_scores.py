"""Scores made by hand."""

from nemo_desta.evaluation.scores import ItemScore, Scores, by_groups, mean_metric

RULE = {"name": "exact", "version": "owner/repo abc123", "official": True, "what": "word for word", "judge": None}


def items(values, groups=None, prefix="i", **rest):
    """One item a value; `groups` is a list of dicts beside them."""
    made = []
    for n, value in enumerate(values):
        outcome = {None: "judge_failed", 0: "wrong", 1: "right"}.get(value, "scored")
        made.append(
            ItemScore(
                f"{prefix}{n}",
                value,
                outcome,
                groups[n] if groups else {},
                response=f"said {n}",
                reference="gold",
                **rest,
            )
        )
    return made


def scores(made, name="desta", metrics=None, **rest):
    """Scores of items: accuracy over all and by the keys of the first one's groups."""

    def accuracy(group, members):
        chances = [i.chance for i in members if i.chance is not None]
        chance = 100 * sum(chances) / len(chances) if chances else None
        return mean_metric("accuracy", [i.value or 0.0 for i in members], group, chance=chance)

    keys = list(made[0].groups) if made else []
    metrics = metrics or [accuracy("all", made), *by_groups(made, keys, accuracy)]
    outcomes = [i.outcome for i in made]
    counts = {"items": len(made), "answered": sum(i.response is not None for i in made)}
    counts |= {o: outcomes.count(o) for o in dict.fromkeys(outcomes) if o not in ("right", "wrong", "scored")}
    fields = {
        "benchmark": "mmau",
        "rule": RULE,
        "data": {"version": "v" * 64, "known_as": "v1"},
        "predictor": {"name": name},
    }
    return Scores(**{**fields, **rest}, metrics=tuple(metrics), items=tuple(made), counts=counts)
