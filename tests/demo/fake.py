"""An output folder as a finished demo leaves it, made in no time, with hostile text wherever text can stand."""

import gzip
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from nemo_desta.demo.config import load_demo
from nemo_desta.record import AudioRef, Message, Record, write_records

HOSTILE = "</script><script>alert('x')</script> <img src=x onerror=alert(1)> \"&\" {{ 7 * 7 }} <|AUDIO|>"
SPLITS = {"train": 320, "validation": 40, "test": 44, "test_unseen_voices": 64}
METHODS = {"trained": 0.83, "untrained": 0.51, "seed": 0.97, "cascade": 0.5}
QUESTIONS = {"gender": 2, "domain": 3, "noise": 2, "speaking speed": 2, "language": 5}


def interval(value: float | None, half: float = 0.06) -> dict[str, float | None]:
    return (
        dict.fromkeys(("value", "low", "high"))
        if value is None
        else {"value": value, "low": value - half, "high": value + half}
    )


def fake_output(folder: Path, text: str = "The train leaves at noon.") -> dict[str, Any]:
    """Write the files that a report reads, and return the results."""
    (folder / "corpus").mkdir(parents=True)
    tone = np.sin(np.arange(24_000) * 0.05) * 0.3
    soundfile.write(folder / "corpus" / "a.wav", tone, 16_000)
    with gzip.open(folder / "corpus" / "desta-mini_supervisions_train.jsonl.gz", "wt") as out:
        out.write(json.dumps({"recording_id": "a", "text": text, "gender": "female", "custom": {"noise": text}}) + "\n")
    user = Message(
        "user", f"<start_audio><|AUDIO|><end_audio>\n\n{text.replace('<|AUDIO|>', '')}", (AudioRef("a.wav", text),)
    )
    record = Record(
        "c1-0",
        (user,),
        text,
        "desta-mini",
        f"[00:00-00:02] {text} (Gender: Female)",
        text,
        {"cut": "c1", "domain": "speech"},
    )
    write_records(folder / "selfgen" / "train" / "records.jsonl", [record])
    tables = folder / "training" / "tables"
    tables.mkdir(parents=True)
    losses = "".join(f"{i},{2.2 + 1.8 * math.exp(-i / 25) + 0.2 * math.sin(9 * i)}\n" for i in range(1, 91))
    (tables / "train.csv").write_text("step,loss\n" + losses)
    rows = "".join(f"{i},val_loss,{2.3 + 1.5 * math.exp(-i / 25)}\n{i},val_acc,0.5\n" for i in range(15, 91, 15))
    (tables / "validation.csv").write_text("step,metric,value\n" + rows)
    return _results(text)


def _results(text: str) -> dict[str, Any]:
    stages = {
        "models": {"files": {}},
        "corpus": {
            "splits": {s: {"clips": n, "hours": n / 1000, "voices": 12} for s, n in SPLITS.items()},
            "files": {},
        },
        "selfgen": {"splits": {s: _selfgen(n, text) for s, n in SPLITS.items()}, "num_prompts": 41, "files": {}},
        "training": {"steps": 90, "records": 1080, "metrics": {}, "files": {}},
        "evaluation": _evaluation(text),
        "answers": {"clips": [_clip(text, i) for i in range(3)], "files": {}},
        "benchmark": _benchmark(text),
    }
    return {
        "budget": "quick", "command": "nemo-desta demo", "version": "0.1.0", "date": "2026-11-23 22:00 UTC",
        "machine": {"cores": 2, "processor": text, "python": "3.11"}, "total_seconds": 842.0, "this_run_seconds": 842.0,
        "peak_memory": 3_900_000_000, "config": asdict(load_demo()),
        "stages": {n: {"seconds": 100.0, "peak_memory": 2_000_000_000, "reused": n == "models", "result": r} for n, r in stages.items()},
    }  # fmt: skip


def _benchmark(text: str) -> dict[str, Any]:
    cells = {p: interval(v) for p, v in (("desta", 0.61), ("cascade", 0.4))}
    rows = [{"name": name, "n": 24, "chance": c, "cells": cells} for name, c in (("mean of all", 37.5), (text, None))]
    counts = {"desta": {"items": 24, "unparsed": 5}, "cascade": {"items": 24}}
    kept = ["12 of 12 answers to text are identical to those of the untouched backbone.", text]
    return {
        "clips": {"Animal": 12, "Gender": 12}, "rows": rows, "counts": counts, "rule": text, "helped": text, "forgetting": kept, "files": {},
    }  # fmt: skip


def _selfgen(clips: int, text: str) -> dict[str, Any]:
    return {
        "total": 3 * clips,
        "ok": 2 * clips,
        "filtered": clips,
        "failed": 0,
        "reasons": {f"filtered: {text}": 9, "filtered: length": 30},
    }


def _clip(text: str, number: int) -> dict[str, Any]:
    answers = [
        {"question": q, "seed": "The speaker is a woman.", "untrained": text, "trained": "The speaker is a woman."}
        for q in (text, "Fast?")
    ]
    attributes = {
        "domain": "speech",
        "gender": "Female",
        "noise": text if number == 0 else "Clean",
        "speaking_speed": "Fast",
    }
    return {
        "id": str(number),
        "audio": "corpus/a.wav",
        "seed_description": text,
        "transcript": text,
        "attributes": attributes,
        "answers": answers,
    }


def _evaluation(text: str) -> dict[str, Any]:
    losses = {"trained": 2.31, "untrained": 4.6, "zero": 3.1, "shuffle": 2.52}
    conditions = {
        k: {"loss": interval(v), "difference": interval(v - 2.31, 0 if k == "trained" else 0.1)}
        for k, v in losses.items()
    }
    closed = {name: _question(name, count) for name, count in QUESTIONS.items()}
    return {
        "loss": {s: {"num_records": 60, "num_clips": 60, "conditions": conditions} for s in ("test", "test_unseen_voices")},
        "questions": [
            {"name": name, "question": text if name == "noise" else f"Which {name}?", "text_can_tell": name in ("domain", "language"),
             "choices": [{"label": f"{name[0]}{i}", "answer": text} for i in range(count)]} for name, count in QUESTIONS.items()
        ],
        "closed": dict.fromkeys(("test", "test_unseen_voices"), closed),
        "calibration_clips": 24,
        "files": {},
    }  # fmt: skip


def _question(name: str, count: int) -> dict[str, Any]:
    def result(value: float | None) -> dict[str, Any]:
        return {
            "num_clips": 40,
            "class_counts": [8] * count,
            "predicted": [8] * count,
            "accuracy": interval(value),
            "auc": interval(value),
        }

    methods = {m: result(None if (name, m) == ("language", "cascade") else v) for m, v in METHODS.items()}
    above = interval({"gender": 0.33, "noise": 0.02, "speaking speed": 0.2}.get(name, 0.3), 0.1)
    if name == "speaking speed":
        methods["trained"]["auc"] = interval(0.7)
    return {"methods": methods, "above_cascade": above}
