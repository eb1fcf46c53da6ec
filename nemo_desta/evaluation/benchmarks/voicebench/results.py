"""The files that VoiceBench's scripts write: `[result-]<model>-<set>-<split>-<modality>.jsonl`.

main.py writes every column but the audio, and `response`; api_judge.py copies that and adds `score`, a list of three texts. Most
sets have no ids: a line's place is its id. mmsu is written as one file over its twelve splits (split `test` in the name).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks.voicebench.sets import SETS, QuestionSet
from nemo_desta.evaluation.items import Answer, unique
from nemo_desta.evaluation.reading import files_in, read_jsonl, text_of

__all__ = ["item_id", "read"]

_NAMES = "|".join(sorted(map(re.escape, SETS), key=len, reverse=True))
_FILE = re.compile(rf"^(?:result-)?(?:.+-)?(?P<set>{_NAMES})-(?P<split>\w+)-(?P<modality>audio|text|ttft)$")
_JUDGED = "result-"


def read(path: Path) -> list[Answer]:
    """See `Benchmark.read`. Of a file and its judged copy in one folder the copy is read, once their answers are found equal."""
    files = files_in(path, (".jsonl",))
    answers = {file: list(_answers(file)) for file in files}
    for file in files:
        judged = file.with_name(_JUDGED + file.name)
        if judged in answers:
            _check_same(answers.pop(file), answers[judged], file, judged)
    found = [answer for listed in answers.values() for answer in listed]
    unique(found, f"{path} (one model at a time)")
    return found


def item_id(questions: QuestionSet, split: str, number: int, fields: Mapping[str, Any], where: str) -> str:
    """The id of a question: ifeval's key, bbh's id, else its place, counted from 0 in its split (mmsu: over all splits).

    Raises:
        EvaluationError: key or id is missing.
    """
    own = {"ifeval": "key", "bbh": "id"}.get(questions.rule)
    if own is not None:
        if not isinstance(fields.get(own), str | int):
            raise EvaluationError(f"{where}: {own!r} is missing; questions of {questions.name} are known by it.")
        return f"{questions.name}/{fields[own]}"
    parts = [questions.name, *([] if split == "test" else [split]), str(number)]
    return "/".join(parts)


def _answers(file: Path) -> Iterator[Answer]:
    questions, split, modality = _place(file)
    empty = True
    for number, (where, entry) in enumerate(read_jsonl(file)):
        empty = False
        yield _answer(entry, where, questions, split, number, modality)
    if empty:
        raise EvaluationError(
            f"{file}: is empty; main.py writes all answers when the last one is there. Was it stopped?"
        )


def _place(file: Path) -> tuple[QuestionSet, str, str]:
    found = _FILE.match(file.stem)
    if found is None:
        raise EvaluationError(
            f"{file}: of which set? Name it <model>-<set>-<split>-<modality>.jsonl as main.py does, with a set of "
            f"{', '.join(SETS)} and the modality audio or text."
        )
    if found["modality"] == "ttft":
        raise EvaluationError(f"{file}: holds times to the first token, no answers.")
    return SETS[found["set"]], found["split"], found["modality"]


def _answer(
    entry: Mapping[str, Any], where: str, questions: QuestionSet, split: str, number: int, modality: str
) -> Answer:
    text_of(dict(entry), "prompt", where)
    response = entry.get("response")
    if response is not None and not isinstance(response, str):
        raise EvaluationError(f"{where}: 'response' must be text, it is {response!r}.")
    fields = {k: v for k, v in entry.items() if k not in ("response", "score", "audio")}
    fields |= {"set": questions.name, "modality": modality}
    if questions.group != "subject" or split != "test":
        fields["split"] = split
    name = item_id(questions, split, number, entry, where)
    return Answer(name, response, fields, questions.name, entry.get("score"), where)


def _check_same(plain: list[Answer], judged: list[Answer], file: Path, judged_file: Path) -> None:
    if [(a.id, a.response) for a in plain] != [(a.id, a.response) for a in judged]:
        raise EvaluationError(
            f"{judged_file} is not of the answers in {file}; judge them again, or give one of the two files alone."
        )
