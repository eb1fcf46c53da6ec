"""Files of answers to Dynamic-SUPERB, as its repositories and their users write them.

Each is of one instance, named <instance>.json (or .jsonl), or in a folder of that name under a name such as prediction.json:
- phase 1, multimodal-llama: {"accuracy": ..., "predictions": [{"id", "pred", "label", "instruction", "prompt"}]}; pred is stripped,
  pred and label are lower case; older ones have no id, and such an answer fits no question of the data.
- phase 1, others: [{"file", "prediction", "label", "instruction"?}].
- phase 2: metadata.json with answers, {"<file name>": {..., "sllm_name", "sllm_response"}}, or one such object a line.
A judge's reply may stand in each entry under "judge" (or "judgement").
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks.dynamic_superb.instances import instance, item_id
from nemo_desta.evaluation.benchmarks.dynamic_superb.keyed import read_keyed
from nemo_desta.evaluation.items import Answer, unique
from nemo_desta.evaluation.reading import files_in, read_jsonl

__all__ = ["LOWERED", "read"]

LOWERED = "label_lower"
"""Key of a gold answer that the file has in lower case, whatever the data has."""

_RESPONSES = ("sllm_response", "prediction", "pred", "response")
_JUDGED = ("judge", "judgement")
_NO_ANSWERS = ("instance.json", "manifest.json", "scores.json", "forgetting.json", "data.json")
_GENERIC = ("prediction", "result", "metadata", "answer", "output", "test")
_KEYS = ("id", "example_id", "key", "name")

_BARE = "; older scripts wrote true and false without quotes, and to them no answer was equal (accuracy 0): put them in quotes"


def read(path: Path) -> list[Answer]:
    """See `Benchmark.read`."""
    files = [f for f in files_in(path) if f.name not in _NO_ANSWERS or f == path]
    answers = [answer for file in files for answer in _answers(file)]
    if not answers:
        raise EvaluationError(f"{path}: holds no answers; an entry has {' or '.join(_RESPONSES)}.")
    unique(answers, f"{path} (one model at a time)")
    return answers


def _answers(file: Path) -> Iterator[Answer]:
    name = _name_of(file)
    entries = list(_entries(file))
    if not any(key in entry for _, entry, _ in entries for key in _RESPONSES):
        raise EvaluationError(
            f"{file}: no entry has an answer ({', '.join(_RESPONSES)}); are these the questions alone?"
        )
    lowered = file.suffix == ".json" and any("pred" in entry for _, entry, _ in entries)
    for key, entry, where in entries:
        yield _answer(entry, key, name, where, lowered)


def _entries(file: Path) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Name in the file ("" where it has none), entry, place."""
    if file.suffix == ".jsonl":
        for where, entry in read_jsonl(file):
            yield next((str(entry[k]) for k in _KEYS if k in entry), ""), entry, where
        return
    value = read_keyed(file)
    if isinstance(value, dict) and isinstance(value.get("predictions"), list):
        value = value["predictions"]
    pairs = (
        list(value.items()) if isinstance(value, dict) else [("", e) for e in value] if isinstance(value, list) else []
    )
    if not pairs or not all(isinstance(entry, dict) for _, entry in pairs):
        raise EvaluationError(
            f"{file}: is no file of answers; that is a list of objects, an object 'predictions' of them, or an object of file name to object."
        )
    for number, (key, entry) in enumerate(pairs, 1):
        own = key or next((str(entry[k]) for k in _KEYS if k in entry), "")
        if not own and "pred" in entry:
            own = f"entry {number}"  # the older scripts kept no ids
        yield own, entry, f"{file}, {key or f'entry {number}'}"


def _name_of(file: Path) -> str:
    """The instance's name: the file's, or, of a file named prediction..., its folder's."""
    return file.absolute().parent.name if file.stem.lower().startswith(_GENERIC) else file.stem


def _answer(entry: Mapping[str, Any], key: str, stated: str, where: str, lowered: bool) -> Answer:
    about = instance(str(entry.get("instance") or stated))
    found = next((k for k in _RESPONSES if k in entry), None)
    response = entry[found] if found else None
    if response is not None and not isinstance(response, str):
        raise EvaluationError(f"{where}: {found!r} must be text, it is {response!r:.60}.")
    judged = next((entry[k] for k in _JUDGED if k in entry), None)
    fields = {k: v for k, v in entry.items() if k not in (*_RESPONSES, *_JUDGED)}
    fields["instance"] = about.name
    if "label" in fields:
        label = fields.pop("label")
        if isinstance(label, bool) or not isinstance(label, str | int | float):
            raise EvaluationError(
                f"{where}: 'label' must be text, it is {label!r:.60}{_BARE if isinstance(label, bool) else ''}."
            )
        fields[LOWERED if lowered else "label"] = str(label)
    if not (entry.get("file") or entry.get("file1") or key):
        raise EvaluationError(f"{where}: names no question; an entry has 'file' or 'id', or its name as its key.")
    return Answer(item_id(about, entry, key, stated, where), response, fields, about.name, judged, where)
