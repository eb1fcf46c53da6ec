"""predictions.jsonl: one line an item, with all that a scorer needs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.items import Answer, Item, unique
from nemo_desta.evaluation.reading import read_jsonl, text_of
from nemo_desta.record import Message

__all__ = ["NAME", "prediction", "predictor_of", "read_predictions"]

NAME = "predictions.jsonl"
_MARKS = ("benchmark", "fields", "messages")


def prediction(
    benchmark: str,
    predictor: str,
    item: Item,
    messages: Sequence[Message],
    seconds: float,
    response: str | None,
    error: str = "",
) -> dict[str, Any]:
    """One line. A failed item has `error` and no `response`.

    Args:
        messages: exactly what was sent; audio paths relative to the data's root.
        seconds: the item's share of the time its batch took.
    """
    row = {
        "id": item.id, "benchmark": benchmark, "predictor": predictor, "subset": item.subset, "kind": item.kind,
        "fields": dict(item.fields), "messages": [m.to_dict() for m in messages], "seconds": round(seconds, 4),
    }  # fmt: skip
    return {**row, "error": error} if response is None else {**row, "response": response}


def read_predictions(path: Path, benchmark: str) -> list[Answer] | None:
    """Answers of our own predictions file (or of the folder that holds it); None when it is a file of others.

    Raises:
        EvaluationError: it is of another benchmark, a line is damaged, or an id is there twice.
    """
    file = path / NAME if path.is_dir() else path
    if file.suffix != ".jsonl" or not file.is_file() or not _ours(file):
        return None
    answers = [_answer(row, where, benchmark) for where, row in read_jsonl(file)]
    unique(answers, str(file))
    return answers


def predictor_of(path: Path) -> Mapping[str, Any]:
    """What is known of who made the predictions: the manifest beside them, else the file's name."""
    folder = path if path.is_dir() else path.parent
    try:
        stated = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return {**stated["predictor"], "file": str(path)}
    except (OSError, ValueError, KeyError, TypeError):
        return {"name": path.stem, "file": str(path)}


def _ours(file: Path) -> bool:
    with file.open("rb") as lines:
        first = next((line for line in lines if line.strip()), b"")
    try:
        row = json.loads(first)
    except ValueError:
        return False
    return isinstance(row, dict) and all(k in row for k in _MARKS)


def _answer(row: Mapping[str, Any], where: str, benchmark: str) -> Answer:
    if row.get("benchmark") != benchmark:
        raise EvaluationError(f"{where}: these are predictions for {row.get('benchmark')!r}, not for {benchmark!r}.")
    name, response = text_of(dict(row), "id", where), row.get("response")
    if not isinstance(row.get("fields"), dict) or not (response is None or isinstance(response, str)):
        raise EvaluationError(f"{where} (id {name}): fields must be an object and response a text.")
    return Answer(name, response, row["fields"], str(row.get("subset", "")), None, where, row.get("error"))
