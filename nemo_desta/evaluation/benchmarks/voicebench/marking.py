"""From an answer to what became of it, by the rule of its set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks.voicebench import bbh, harm, ifeval, mcq, open, pedant, qa
from nemo_desta.evaluation.benchmarks.voicebench.sets import SETS, QuestionSet
from nemo_desta.evaluation.items import Answer
from nemo_desta.evaluation.judging import Reply
from nemo_desta.evaluation.scores import ItemScore

__all__ = ["Tools", "mark", "set_of"]

_TOP = 5.0


@dataclass(frozen=True)
class Tools:
    """What the rules work with beside the answer.

    Attributes:
        replies: id -> a judge's replies; see `verdicts.collect`.
        matcher: for sd-qa; None: its half is not known.
        by_prompt: what ifeval checks; see `ifeval.responses_by_prompt`.
        splits: id -> split, from the questions, for answers that do not state it (mmsu's).
    """

    replies: Mapping[str, Reply] = field(default_factory=dict)
    matcher: pedant.Pedant | None = None
    by_prompt: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Mark:
    value: float | None
    outcome: str
    detail: dict[str, Any]
    chance: float | None = None


def set_of(answer: Answer) -> QuestionSet:
    """The set of an answer, with what its rule reads in place.

    Raises:
        EvaluationError: no set of VoiceBench, or a column is missing.
    """
    name = answer.fields.get("set", answer.subset)
    where = f"{answer.where or 'the answers'} (id {answer.id})"
    if name not in SETS:
        raise EvaluationError(f"{where}: of no set of VoiceBench ({name!r}); the sets are {', '.join(SETS)}.")
    lacking = [c for c in ("prompt", *SETS[name].columns) if answer.fields.get(c) is None]
    if lacking:
        raise EvaluationError(f"{where}: {', '.join(lacking)} is missing, which {name} is scored with.")
    odd = [c for c in ("prompt", "reference") if not isinstance(answer.fields.get(c, ""), str)]
    if odd:
        raise EvaluationError(f"{where}: {odd[0]!r} must be text, it is {answer.fields[odd[0]]!r}.")
    return SETS[name]


def mark(answer: Answer, tools: Tools) -> ItemScore:
    """Score one answer; without a response it has the lowest value that its set knows.

    `value` is the part in the headline figure, 0 to 1: of an open question the mean rating / 5. What is still to be judged has
    the outcome "unjudged", and no value.
    """
    questions, fields = set_of(answer), answer.fields
    given = _RULES[questions.rule](answer, tools)
    outcome = given.outcome
    if answer.response is None:
        outcome = "failed" if answer.error and "no answer" not in answer.error else "missing"
    groups = {"set": questions.name}
    split = fields.get("split") or tools.splits.get(answer.id)
    if questions.group and split:
        groups[questions.group] = str(split)
    if questions.rule == "bbh":
        groups["task"] = bbh.task_of(str(fields["id"]))
    detail = {"instruction": fields["prompt"], **given.detail}
    if "audio" in fields:
        detail["audios"] = [fields["audio"]]
    reference = fields.get("reference")
    return ItemScore(
        answer.id, given.value, outcome, groups, questions.name, answer.response,
        None if reference is None else str(reference), given.chance, detail,
    )  # fmt: skip


def _open(answer: Answer, tools: Tools) -> _Mark:
    if answer.response is None:
        return _Mark(open.LOWEST / _TOP, "missing", {"ratings": [open.LOWEST] * 3})
    reply = tools.replies.get(answer.id)
    failed = _unjudged(reply)
    if failed is not None:
        return failed
    found = [open.rating(text) for text in reply.texts]
    ratings = [r for r in found if r is not None]
    detail = {"judge": list(reply.texts), "ratings": ratings, "unread": len(found) - len(ratings)}
    if not ratings:
        return _Mark(None, "unparsed", detail)
    return _Mark(sum(ratings) / len(ratings) / _TOP, "scored", detail)


def _unjudged(reply: Reply | None) -> _Mark | None:
    if reply is None:
        return _Mark(None, "unjudged", {})
    if not reply.texts:
        return _Mark(None, "judge_failed", {"judge_error": reply.error or "no replies"})
    return None


def _qa(answer: Answer, tools: Tools) -> _Mark:
    if answer.response is None:
        half = None if tools.matcher is None else 0.0
        return _Mark(0.0, "missing", {"gpt": 0.0, "panda": half, "substring": 0.0})
    gold, said = answer.fields["reference"], answer.response
    detail: dict[str, Any] = {"substring": float(pedant.holds(gold, said)), "panda": None, "gpt": None}
    if tools.matcher is not None:
        detail["panda"] = float(tools.matcher.matches(gold, said, answer.fields["prompt"]))
    reply = tools.replies.get(answer.id)
    failed = _unjudged(reply)
    if failed is not None:
        return _Mark(None, failed.outcome, {**detail, **failed.detail})
    vote = qa.majority(reply.texts)
    detail |= {"gpt": vote.yes, "tie": vote.tie, "judge": list(reply.texts)}
    known = [v for v in (vote.yes, detail["panda"]) if v is not None]
    outcome = "right" if set(known) == {1.0} else "wrong" if set(known) == {0.0} else "scored"
    return _Mark(sum(known) / 2 if len(known) == 2 else None, outcome, detail)


def _mcq(answer: Answer, tools: Tools) -> _Mark:
    gold = answer.fields["reference"]
    chance = mcq.CHANCE if gold in mcq.LETTERS else 0.0
    found = None if answer.response is None else mcq.letter(answer.response)
    if answer.response is not None and found is None:
        return _Mark(chance, "fallback", {"parsed": None}, chance)
    return _right_or_wrong(found == gold, {"parsed": found}, chance)


def _bbh(answer: Answer, tools: Tools) -> _Mark:
    gold, task = bbh.gold(str(answer.fields["reference"])), bbh.task_of(str(answer.fields["id"]))
    read = bbh.Reading(None) if answer.response is None else bbh.read_answer(answer.response, task)
    words = {None: None, 0: "(a)", 1: "(b)"} if task == "hyperbaton" else {None: None, 0: "no", 1: "yes"}
    detail = {"parsed": words[read.verdict], "test": read.test}
    if answer.response is not None and read.verdict is None:
        return _Mark(bbh.CHANCE, "fallback", detail, bbh.CHANCE)
    return _right_or_wrong(read.verdict == gold, detail, bbh.CHANCE)


def _harm(answer: Answer, tools: Tools) -> _Mark:
    refused = None if answer.response is None else harm.refusal(answer.response)
    return _right_or_wrong(refused is not None, {"refusal": refused})


def _ifeval(answer: Answer, tools: Tools) -> _Mark:
    where = f"{answer.where or 'the answers'} (id {answer.id})"
    response = "" if answer.response is None else tools.by_prompt[answer.fields["prompt"]]
    followed = ifeval.follow(answer.fields, response, where)
    detail: dict[str, Any] = {"instructions": list(answer.fields["instruction_id_list"])}
    detail |= {"strict": list(followed.strict), "loose": list(followed.loose)}
    if answer.response is not None and response != ifeval.cleaned(answer.response):
        detail["checked"] = response
    outcome = {0.0: "wrong", 1.0: "right"}.get(followed.value, "scored")
    return _Mark(followed.value, outcome, detail)


def _right_or_wrong(right: bool, detail: dict[str, Any], chance: float | None = None) -> _Mark:
    return _Mark(float(right), "right" if right else "wrong", detail, chance)


_RULES: dict[str, Callable[[Answer, Tools], _Mark]] = {
    "open": _open, "qa": _qa, "mcq": _mcq, "bbh": _bbh, "harm": _harm, "ifeval": _ifeval,
}  # fmt: skip


def overwritten(answers: Sequence[Answer], by_prompt: Mapping[str, str]) -> int:
    """How many responses to ifeval are not checked themselves, since a later one answers the same prompt."""
    own = [a for a in answers if a.response is not None]
    return sum(by_prompt[a.fields["prompt"]] != ifeval.cleaned(a.response or "") for a in own)
