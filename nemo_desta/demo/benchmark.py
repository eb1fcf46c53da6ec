"""The stage that takes the trained model through a benchmark, with the commands that a user takes a real one with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nemo_desta.demo.config import HELD_OUT
from nemo_desta.demo.listening import write_listening_set
from nemo_desta.demo.making import manifest_of
from nemo_desta.evaluation.forgetting import Forgetting
from nemo_desta.evaluation.scores import Metric, Scores, read_scores

__all__ = ["benchmark", "told"]

_FOLDER = "benchmark"


def benchmark(config: Mapping[str, Any], output_dir: Path) -> dict[str, Any]:
    """Make a question set in SAKURA's layout, run `eval run` on it, and gather its tables for the demo's report."""
    from nemo_desta.configs import load_config
    from nemo_desta.evaluation.clips import read_clips
    from nemo_desta.evaluation.run import SCHEMA, run

    folder, corpus = output_dir / _FOLDER, output_dir / "corpus"
    manifests = [manifest_of(output_dir, split) for split in HELD_OUT[::-1]]
    clips = read_clips(manifests, config["seed_config"], corpus)
    counts = write_listening_set(folder / "SAKURA", clips, corpus, config["clips_per_track"])
    out = folder / "evaluation"
    overrides = [
        f"model='{output_dir / config['model']}'", f"output_dir='{out}'", f"predictors={json.dumps(config['predictors'])}",
        f"forgetting={config['forgetting']}", f"batch_size={config['batch_size']}", f"benchmarks.sakura.data='{folder / 'SAKURA'}'",
        f"benchmarks.sakura.rule={config['rule']}", f"benchmarks.sakura.max_new_tokens={config['max_new_tokens']}",
    ]  # fmt: skip
    run(load_config("desta_eval", overrides, schema=SCHEMA))
    scores = {p: read_scores(out / "sakura" / p / "scores.json") for p in config["predictors"]}
    kept = json.loads((out / "sakura" / "forgetting" / "forgetting.json").read_text(encoding="utf-8"))
    sentences = [Forgetting.from_dict(value).told(who) for who, value in kept.items()]
    files = {"questions": f"{_FOLDER}/SAKURA", "evaluation report": f"{_FOLDER}/evaluation/report.html"}
    return {"clips": counts, **told(scores), "forgetting": sentences, "files": files}


def told(scores: Mapping[str, Scores]) -> dict[str, Any]:
    """What the demo's report shows: a row for each figure, a cell for each predictor."""
    first = next(iter(scores.values()))
    rows = [
        {
            "name": _name(m), "n": m.n, "chance": m.chance,
            "cells": {p: _cell(s.find(m.name, m.group)) for p, s in scores.items()},
        }
        for m in first.metrics
        if m.name == "accuracy"
    ]  # fmt: skip
    counts = {p: {k: v for k, v in s.counts.items() if v} for p, s in scores.items()}
    return {"rows": rows, "counts": counts, "rule": first.rule["what"], "helped": _helped(scores)}


def _name(metric: Metric) -> str:
    return "mean of all" if metric.group == "all" else metric.group.partition("=")[2]


def _cell(metric: Metric | None) -> dict[str, float | None]:
    """Shares of 1, as the report's charts take them."""
    if metric is None:
        return {"value": None, "low": None, "high": None}
    return {
        k: None if v != v else v / 100 for k, v in (("value", metric.value), ("low", metric.low), ("high", metric.high))
    }


def _helped(scores: Mapping[str, Scores]) -> str:
    from nemo_desta.evaluation.baselines import audio_helped

    if "desta" not in scores or "cascade" not in scores:
        return ""
    return str(audio_helped(scores["desta"], scores["cascade"]))
