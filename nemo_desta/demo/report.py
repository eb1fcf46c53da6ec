"""results.json and the files beside it to one self-contained page."""

import base64
import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import soundfile
from jinja2 import Environment, PackageLoader, StrictUndefined

from nemo_desta.demo.charts import interval_mark, loss_chart
from nemo_desta.demo.config import HELD_OUT
from nemo_desta.record import read_records

__all__ = ["verdicts", "write_report"]

_AUC_GOAL = 0.8
_METHOD_NAMES = {
    "trained": "trained model", "untrained": "untrained model", "seed": "backbone, metadata (ceiling)",
    "cascade": "backbone, transcript (cascade)",
}  # fmt: skip
_CONDITION_NAMES = {
    "trained": "trained connector", "untrained": "untrained connector", "zero": "trained, audio features zeroed",
    "shuffle": "trained, another clip's audio",
}  # fmt: skip
_SPLIT_NAMES = {"test": "Voices known from training", "test_unseen_voices": "Voices never trained on"}


def write_report(results: Mapping[str, Any], output_dir: Path) -> Path:
    """Write `report.html` and return its path. Everything from the data is escaped; nothing is fetched.

    Args:
        results: as `run_demo` writes them to results.json.
        output_dir: of the demo, for curves, audio and an example.
    """
    stages = {name: stage["result"] for name, stage in results["stages"].items()}
    environment = Environment(
        loader=PackageLoader("nemo_desta.demo", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, interval=_interval, minutes=_minutes, gigabytes=_gigabytes)
    environment.globals.update(
        mark=interval_mark, method_names=_METHOD_NAMES, condition_names=_CONDITION_NAMES, split_names=_SPLIT_NAMES
    )
    page = environment.get_template("report.html").render(
        results=results,
        corpus=stages["corpus"]["splits"],
        selfgen=stages["selfgen"],
        training=stages["training"],
        evaluation=stages["evaluation"],
        benchmark=stages["benchmark"],
        clips=[{**clip, "sound": _mp3(output_dir / clip["audio"])} for clip in stages["answers"]["clips"]],
        example=_example(output_dir),
        chart=loss_chart(_curves(output_dir / "training" / "tables")),
        loss_range=_loss_range(stages["evaluation"]["loss"]),
        verdicts=verdicts(stages["evaluation"]),
        splits=HELD_OUT[::-1],
    )
    path = output_dir / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def verdicts(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """What the numbers say about the two goals, on voices never trained on.

    Returns:
        loss_beaten, loss_not_beaten: conditions whose loss is above the trained one's beyond doubt (95 %), and the others.
        heard: names of questions that text cannot answer, with AUC of at least 0.8 and above the cascade's beyond doubt.
        some: those above the cascade's beyond doubt with a lower AUC.
        not_heard: the other questions that text cannot answer.
    """
    split = HELD_OUT[-1]
    conditions = evaluation["loss"][split]["conditions"]
    beaten = [k for k, v in conditions.items() if k != "trained" and (v["difference"]["low"] or 0) > 0]
    asked = evaluation["closed"][split]
    names = [q["name"] for q in evaluation["questions"] if not q["text_can_tell"]]
    above = [n for n in names if (asked[n]["above_cascade"]["low"] or 0) > 0]
    heard = [n for n in above if (asked[n]["methods"]["trained"]["auc"]["value"] or 0) >= _AUC_GOAL]
    return {
        "loss_beaten": beaten,
        "loss_not_beaten": [k for k in conditions if k != "trained" and k not in beaten],
        "heard": heard,
        "some": [n for n in above if n not in heard],
        "not_heard": [n for n in names if n not in above],
    }


def _curves(tables: Path) -> dict[str, list[tuple[float, float]]]:
    train = [(float(r["step"]), float(r["loss"])) for r in _rows(tables / "train.csv")]
    validation = [
        (float(r["step"]), float(r["value"])) for r in _rows(tables / "validation.csv") if r["metric"] == "val_loss"
    ]
    return {"train": train, "validation": validation}


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)


def _loss_range(losses: Mapping[str, Any]) -> tuple[float, float]:
    values = [
        v for part in losses.values() for c in part["conditions"].values() for v in c["loss"].values() if v is not None
    ]
    margin = 0.05 * (max(values) - min(values) or 1.0)
    return min(values) - margin, max(values) + margin


_HEARD = ("gender", "speaking_speed", "noise")


def _example(output_dir: Path) -> dict[str, Any]:
    """A training record of what only the ear can tell of speech, with the metadata that it came from."""
    records = list(islice(read_records(output_dir / "selfgen" / "train" / "records.jsonl"), 200))
    record = next((r for r in records if (r.provenance or {}).get("about") in _HEARD), records[0])
    recording = Path(record.audios[0].audio).stem
    metadata: dict[str, Any] = {}
    with gzip.open(output_dir / "corpus" / "desta-mini_supervisions_train.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["recording_id"] == recording:
                shown = {k: row[k] for k in ("text", "language", "gender", "speaker") if row.get(k)}
                metadata = {**shown, **(row.get("custom") or {})}
    user = record.messages[-1]
    return {"record": record, "metadata": metadata, "user": user.content, "transcript": user.audios[0].text}


def _mp3(path: Path) -> str:
    """The clip as base64 of a small mp3."""
    samples, rate = soundfile.read(path, dtype="float32")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.7)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _interval(interval: Mapping[str, float | None], digits: int = 2) -> str:
    """`[low, high]`, or nothing where it is not defined."""
    if interval["low"] is None or interval["high"] is None:
        return ""
    return f"[{_number(interval['low'], digits)}, {_number(interval['high'], digits)}]"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
