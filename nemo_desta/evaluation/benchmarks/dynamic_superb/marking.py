"""From an answer to what became of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks.dynamic_superb import exact
from nemo_desta.evaluation.benchmarks.dynamic_superb.answers import LOWERED
from nemo_desta.evaluation.benchmarks.dynamic_superb.instances import Instance, asked, instance, kind_and_metric
from nemo_desta.evaluation.benchmarks.dynamic_superb.judged import number, plain_number, verdict
from nemo_desta.evaluation.items import Answer
from nemo_desta.evaluation.judging import Reply
from nemo_desta.evaluation.refusals import declines
from nemo_desta.evaluation.scores import ItemScore

__all__ = ["READERS", "Question", "mark", "question_of", "to_ask"]

READERS: Mapping[str, Callable[[str, str], bool]] = {
    "exact": exact.exact, "exact-strip": exact.exact_strip, "consecutive-words": exact.consecutive_words,
}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What an answer is scored by.

    Attributes:
        answer: of which.
        about: its instance.
        label: the gold answer.
        kind: classification, regression, generation, sound.
        metric: None where it is not known.
    """

    answer: Answer
    about: Instance
    label: str
    kind: str
    metric: str | None

    @property
    def instruction(self) -> str:
        """As the data has it; "" where the file of answers does not state it."""
        return str(self.answer.fields.get("instruction") or "")


@dataclass(frozen=True)
class _Mark:
    value: float | None
    outcome: str
    detail: dict[str, Any] = field(default_factory=dict)


def question_of(answer: Answer, metrics: Mapping[str, Any] | None = None) -> Question:
    """The question of an answer.

    Args:
        metrics: instance -> what its instance.json states, where the answers' file does not.

    Raises:
        EvaluationError: the instance or the gold answer is missing.
    """
    where = f"{answer.where or 'the answers'} (id {answer.id})"
    name, label = answer.fields.get("instance") or answer.subset, answer.fields.get("label", answer.fields.get(LOWERED))
    if not isinstance(name, str) or not name.strip():
        raise EvaluationError(f"{where}: of which instance? Name its file <task>_<data set>.")
    if not isinstance(label, str):
        raise EvaluationError(f"{where}: has no 'label'; an answer is scored by the gold answer that its file states.")
    about = instance(name)
    stated = {"metrics": answer.fields.get("metrics") or (metrics or {}).get(about.name)}
    return Question(answer, about, label, *kind_and_metric(stated, about))


def mark(question: Question, rule: str, replies: Mapping[str, Reply]) -> ItemScore:
    """Score one answer.

    Args:
        rule: exact, exact-strip, consecutive-words, judged, phase2.
        replies: id -> a judge's reply.
    """
    answer = question.answer
    made = _marked(question, rule, replies.get(answer.id))
    outcome = made.outcome
    if answer.response is None:
        outcome = "failed" if answer.error else "missing"
    groups = {"dimension": question.about.dimension} if question.about.dimension else {}
    groups |= {"task": question.about.task, "instance": question.about.name, "dataset": question.about.dataset}
    shown = asked(question.about, answer.fields) if question.instruction else ""
    detail: dict[str, Any] = {"instruction": shown, **made.detail}
    choices = exact.options(question.instruction)
    if choices:
        detail["choices"] = list(choices)
    classified = rule != "phase2" or question.kind == "classification"
    chance = exact.chance(question.instruction, question.label) if classified else None
    return ItemScore(
        answer.id, made.value, outcome, groups, question.about.name, answer.response, question.label, chance, detail
    )


def _marked(question: Question, rule: str, reply: Reply | None) -> _Mark:
    if rule in READERS:
        return _read(question, READERS[rule])
    if rule == "judged" or question.kind == "classification":
        return _judged(question, reply)
    if question.kind == "regression":
        return _number(question, reply)
    return _Mark(None, "scored")


def _read(question: Question, right: Callable[[str, str], bool]) -> _Mark:
    response = question.answer.response
    if response is None:
        return _Mark(0.0, "missing")
    if right(response, question.label):
        return _Mark(1.0, "right")
    names = exact.named(response, question.instruction)
    detail: dict[str, Any] = {"named": list(names)} if names else {}
    if exact.consecutive_words(response, question.label):
        detail["holds_label"] = True
    if declines(response):
        return _Mark(0.0, "refused", detail)
    readable = len(names) == 1 or not exact.options(question.instruction)
    return _Mark(0.0, "wrong" if readable else "unparsed", detail)


def _judged(question: Question, reply: Reply | None) -> _Mark:
    if question.answer.response is None:
        return _Mark(0.0, "missing")
    if reply is None:
        return _Mark(None, "unjudged")
    if not reply.texts:
        return _Mark(0.0, "judge_failed", {"judge_error": reply.error or "no reply"})
    said = verdict(reply.texts[0])
    detail = {"judge": reply.texts[0]}
    if said is None:
        return _Mark(0.0, "unparsed", detail)
    outcome = "right" if said else "refused" if declines(question.answer.response) else "wrong"
    return _Mark(float(said), outcome, detail)


def _number(question: Question, reply: Reply | None) -> _Mark:
    """Regression: the number that the answer gives, or N/A."""
    if plain_number(question.label) is None:
        raise EvaluationError(
            f"{question.answer.where or 'the answers'} (id {question.answer.id}): the gold answer {question.label!r} is no number, "
            f"but {question.about.name} is regression."
        )
    if question.answer.response is None:
        return _Mark(None, "missing")
    own = plain_number(question.answer.response)
    if own is not None:
        return _Mark(None, "scored", {"parsed": own})
    if reply is None:
        return _Mark(None, "unjudged")
    if not reply.texts:
        return _Mark(None, "judge_failed", {"judge_error": reply.error or "no reply"})
    found, detail = number(reply.texts[0]), {"judge": reply.texts[0]}
    if isinstance(found, float):
        return _Mark(None, "scored", {**detail, "parsed": found})
    return _Mark(None, "unparsed", {**detail, "parsed": "N/A"})


def to_ask(questions: Sequence[Question], rule: str) -> list[tuple[Answer, str, str]]:
    """(answer, gold answer, what is asked) of those that want a judge; a bare number is read without one."""
    if rule in READERS:
        return []
    wanted = []
    for q in questions:
        if rule == "judged" or q.kind == "classification":
            wanted.append((q.answer, q.label, "verdict"))
        elif q.kind == "regression" and (q.answer.response is None or plain_number(q.answer.response) is None):
            wanted.append((q.answer, q.label, "number"))
    return wanted
