"""MMAU: token sets of the prediction against those of the choices (Sakshi113/MMAU, evaluation.py)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import Context, Rule
from nemo_desta.evaluation.items import Answer, Data, Item, content_hash, unique
from nemo_desta.evaluation.reading import files_in, read_entries
from nemo_desta.evaluation.refusals import declines
from nemo_desta.evaluation.scores import ItemScore, Metric, Scores, by_groups, mean_metric

__all__ = ["BENCHMARK", "Mmau", "extracted", "matches"]

_VERSION = "Sakshi113/MMAU 110127f"
_QUESTION = ("id", "audio_id", "question", "choices", "task", "difficulty")
_FACTS = (*_QUESTION, "answer", "category", "sub-category", "dataset", "split")
_GROUPS = ("task", "difficulty", "sub-category")
_SIZE = 1000
_LAST_CHANGE = ("d882cb66-222f-48cd-a396-2439fa301234", "Alexander Graham Bell", "Thomas Edison")
_FILES = {"test-mini": "mmau-test-mini.json", "test": "mmau-test.json"}

RULES = (
    Rule(
        "model_prediction",
        "reads the key model_prediction (MMAU's README, DeSTA's script); of our own responses, DeSTA's extraction: "
        "the words 'The correct answer is: ' are taken out first",
        _VERSION,
    ),
    Rule(
        "model_output",
        "reads the key model_output (MMAU's evaluation.py since 2025-01); of our own responses, the whole text",
        _VERSION,
    ),
)


def matches(answer: str, prediction: str, choices: Sequence[str]) -> bool:
    """Whether the prediction holds every word of the answer and no word that only other choices have.

    Words are runs of word characters, lower case, as sets: neither order nor number counts. A choice with the same
    words as the answer is no other choice (string_match of the official evaluation.py).
    """
    said, right = _words(prediction), _words(answer)
    others: set[str] = set()
    for choice in choices:
        if _words(choice) != right:
            others |= _words(choice) - right
    return bool(said) and right <= said and not said & others


def extracted(response: str) -> str:
    """What DeSTA2.5's published script writes as model_prediction: quotes and full stops stay."""
    return response.replace("The correct answer is: ", "").strip()


def _words(text: str) -> set[str]:
    return set(re.findall(r"\b\w+\b", text.lower()))


class Mmau:
    """See `nemo_desta.evaluation.benchmarks.Benchmark`."""

    name = "mmau"
    rules = RULES
    subsets = ("test-mini",)
    download = (
        "MMAU: put mmau-test-mini.json (github.com/Sakshi113/MMAU, or the dataset gamma-lab-umd/MMAU-test-mini) and the folder "
        "test-mini-audios/ with its 1,000 wav files into one folder. The 9,000 answers of mmau-test.json are not published."
    )

    def load(self, source: Path, work: Path, subsets: Sequence[str] = ()) -> Data:
        """See `Benchmark.load`: a folder with mmau-test-mini.json (or mmau-test.json), or the JSON file itself."""
        path = self._questions(source, subsets)
        items = tuple(_item(entry, where) for where, entry in read_entries(path))
        unique(items, str(path))
        audios = sum((path.parent / a).is_file() for i in items for a in i.audios)
        notes = () if audios == len(items) else (f"{len(items) - audios} of {len(items)} audio files are not there.",)
        if not audios:
            notes = (*notes, self.download)
        known, more = _version(items)
        return Data(path.parent, items, content_hash(i.fields for i in items), known, (*notes, *more))

    def _questions(self, source: Path, subsets: Sequence[str]) -> Path:
        unknown = [s for s in subsets if s not in _FILES]
        if unknown:
            raise EvaluationError(f"MMAU has the sets {', '.join(_FILES)}, not {unknown[0]!r}.")
        candidates = [source] if source.is_file() else [source / _FILES[s] for s in subsets or _FILES]
        found = next((p for p in candidates if p.is_file()), None)
        if found is None:
            raise EvaluationError(f"{source}: holds no {' or '.join(p.name for p in candidates)}. {self.download}")
        return found

    def protocol(self, clone: Path) -> dict[str, str]:
        """Nobody is asked to judge."""
        return {}

    def read(self, path: Path) -> list[Answer]:
        """See `Benchmark.read`: the questions' JSON with a key for the predictions, in one file or several."""
        return [_answer(entry, where) for file in files_in(path) for where, entry in read_entries(file)]

    def score(self, answers: Sequence[Answer], context: Context) -> Scores:
        """See `Benchmark.score`. Items without the key are left out of the denominator, as officially; `accuracy_of_all`
        has them in it."""
        key = context.rule.name
        answers = [_under_rule(a, key) for a in answers]
        _refuse(answers, key)
        items = tuple(_score(a) for a in answers)
        counted = [i for i in items if i.response is not None]
        if not counted:
            raise EvaluationError(f"no answer has the key {key!r}; {_other_keys(answers, key)}")
        metrics = [
            _accuracy("all", counted),
            *by_groups(counted, _GROUPS, _accuracy),
            _mean("accuracy_of_all", "all", items, "items without an answer count as wrong"),
        ]
        return Scores(
            self.name, {}, tuple(metrics), items, _counts(items), _notes(items, key), {"gold": _gold_hash(answers)}
        )


def _item(entry: Mapping[str, Any], where: str) -> Item:
    lacking = [k for k in _QUESTION if k not in entry]
    if lacking:
        raise EvaluationError(
            f"{where}: lacks {', '.join(lacking)}; an item of MMAU has {', '.join(_QUESTION)}, answer."
        )
    if not isinstance(entry["choices"], list) or not all(isinstance(c, str) for c in entry["choices"]):
        raise EvaluationError(
            f"{where} (id {entry['id']}): choices must be a list of texts, it is {entry['choices']!r}."
        )
    audio = str(entry["audio_id"]).removeprefix("./")
    fields = {k: entry[k] for k in _FACTS if k in entry}
    return Item(
        str(entry["id"]), (audio,), entry["question"], str(entry["task"]), str(entry.get("split", "")), None, fields
    )


def _version(items: Sequence[Item]) -> tuple[str | None, tuple[str, ...]]:
    """The published version by what is known of its history: the last change (2025-08-09) touched one gold answer."""
    name, new, old = _LAST_CHANGE
    gold = next((i.fields.get("answer") for i in items if i.id == name), None)
    if len(items) == _SIZE and gold == new:
        return "v05.15.25, gold answers as of 2025-08-09 (f0a4a97)", ()
    if len(items) == _SIZE and gold == old:
        note = f"An older MMAU: the gold answer of {name} was {old!r} until 2025-08-09, now {new!r}."
        return "before 2025-08-09", (note,)
    return None, (f"Not the published test-mini: {len(items)} items where that has {_SIZE}, or other ones.",)


def _answer(entry: Mapping[str, Any], where: str) -> Answer:
    item = _item(entry, where)
    own = {k: entry[k] for k in ("model_prediction", "model_output") if k in entry}
    return Answer(item.id, None, {**item.fields, **own}, item.subset, where=where)


def _under_rule(answer: Answer, key: str) -> Answer:
    """The answer with the response that the rule reads: a key of the official file, or our own response."""
    if answer.response is not None:
        return replace(answer, response=extracted(answer.response)) if key == "model_prediction" else answer
    value = answer.fields.get(key)
    if value is not None and not isinstance(value, str):
        raise EvaluationError(f"{answer.where} (id {answer.id}): {key} must be text, it is {value!r}.")
    return replace(answer, response=value)


def _refuse(answers: Sequence[Answer], key: str) -> None:
    secret = [a for a in answers if not isinstance(a.fields.get("answer"), str)]
    if secret:
        raise EvaluationError(
            f"{len(secret)} of {len(answers)} items have no gold answer (first: {secret[0].id}): those of MMAU's test set "
            "are not published; send the file to the benchmark's leaderboard, or use test-mini."
        )


def _other_keys(answers: Sequence[Answer], key: str) -> str:
    other = next(rule.name for rule in RULES if rule.name != key)
    has_other = sum(other in a.fields for a in answers)
    return f"{has_other} have {other!r}: use --rule {other}." if has_other else "is it a file of predictions?"


def _score(answer: Answer) -> ItemScore:
    fields, response = answer.fields, answer.response
    choices, gold = fields["choices"], fields["answer"]
    groups = {k: str(fields[k]) for k in _GROUPS if fields.get(k) is not None}
    chance = sum(matches(gold, c, choices) for c in choices) / len(choices) if choices else None
    detail: dict[str, Any] = {
        "instruction": fields.get("question", ""),
        "choices": choices,
        "audios": [fields["audio_id"]],
    }
    if response is None:
        return ItemScore(
            answer.id, 0.0, "failed" if answer.error else "missing", groups, answer.subset, None, gold, chance, detail
        )
    right = matches(gold, response, choices)
    named = [c for c in choices if _words(c) and _words(c) <= _words(response)]
    outcome = "right" if right else "wrong" if named else "refused" if declines(response) else "unparsed"
    detail["named"] = named
    return ItemScore(answer.id, float(right), outcome, groups, answer.subset, response, gold, chance, detail)


def _accuracy(group: str, items: Sequence[ItemScore]) -> Metric:
    return _mean("accuracy", group, items)


def _mean(name: str, group: str, items: Sequence[ItemScore], note: str = "") -> Metric:
    known = [i.chance for i in items if i.chance is not None]
    chance = 100 * sum(known) / len(known) if known else None
    return mean_metric(name, [i.value or 0.0 for i in items], group, chance=chance, note=note, unit="%")


def _counts(items: Sequence[ItemScore]) -> dict[str, int]:
    outcomes = [i.outcome for i in items]
    named = {k: outcomes.count(k) for k in ("missing", "failed", "unparsed", "refused")}
    return {"items": len(items), "answered": sum(i.response is not None for i in items), **named}


def _notes(items: Sequence[ItemScore], key: str) -> tuple[str, ...]:
    left_out = sum(i.response is None for i in items)
    notes = [f"Rule {key}; unparsed answers name no choice in full and count as wrong."]
    if left_out:
        notes.append(
            f"{left_out} items have no {key}: the official code leaves them out of the denominator, so does `accuracy`; "
            "`accuracy_of_all` counts them as wrong."
        )
    return tuple(notes)


def _gold_hash(answers: Sequence[Answer]) -> str:
    return content_hash({k: a.fields[k] for k in _FACTS if k in a.fields} for a in answers)


BENCHMARK = Mmau()
