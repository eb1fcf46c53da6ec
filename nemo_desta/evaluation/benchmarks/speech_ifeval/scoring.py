"""Speech-IFEval's figures: following rates of the three parts, their mean (IFrate), and what was forgotten (Delta)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import Context, Rule
from nemo_desta.evaluation.benchmarks.speech_ifeval import rates, tasks
from nemo_desta.evaluation.benchmarks.speech_ifeval.judged import JUDGE, prompt, verdict
from nemo_desta.evaluation.benchmarks.speech_ifeval.strict import GROUPS, follows
from nemo_desta.evaluation.items import Answer
from nemo_desta.evaluation.scores import ItemScore, Scores

__all__ = ["RULES", "score"]

RULES = (
    Rule(
        "official",
        "closed-ended and creative rows by 13 strict checkers, chain-of-thought rows by an LLM judge; IFrate is the mean of the three",
        "kehanlu/Speech-IFEval e2e9c14",
        judge=JUDGE,
    ),
)
_OPTIONS = ("reference", "task_instruction", "tasks")


@dataclass(frozen=True)
class _Found:
    """What is known of one item; value None: it has no part in IFrate, or no verdict."""

    value: float | None
    outcome: str
    detail: dict[str, Any] = field(default_factory=dict)


def score(answers: Sequence[Answer], context: Context) -> Scores:
    """See `Benchmark.score`.

    Options: reference, a scores.json of the text-only reference run, for Delta; tasks=yes, ask the judge the task level too;
    task_instruction=first-line|whole, what the judge is shown of the instruction then.
    """
    _check(context.options)
    reasoned, used = _reasoning(answers, context)
    levels = tasks.judge(answers, context)
    items = tuple(_item(a, reasoned.get(i) or _followed(a), levels.get(i)) for i, a in enumerate(answers))
    unjudged = sum(i.subset == "cot" and i.value is None for i in items)
    metrics = [*rates.following(items, unjudged), *rates.delta(items, unjudged, context.options.get("reference"))]
    metrics += [*rates.groups(items), *tasks.metrics(answers, levels)]
    described = context.judge.describe() if context.judge and (used or levels) else None
    notes = (*_notes(answers, items, unjudged, context), *tasks.notes(levels, context.options))
    return Scores("speech_ifeval", {}, tuple(metrics), items, _counts(items, unjudged, levels), notes, {}, described)


def _check(options: Mapping[str, str]) -> None:
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise EvaluationError(f"Speech-IFEval has the options {', '.join(_OPTIONS)}, not {unknown[0]!r}.")
    tasks.check(options)


def _absent(answer: Answer) -> _Found:
    missing = not answer.error or "no answer" in answer.error
    return _Found(0.0, "missing" if missing else "failed", {} if missing else {"error": answer.error})


def _followed(answer: Answer) -> _Found:
    """By rule; the official report's own verdict, where the file holds one, beside ours."""
    if answer.subset == "closed_woprompt":
        found = _Found(None, "scored")
        return replace(found, outcome=_absent(answer).outcome) if answer.response is None else found
    if answer.response is None:
        return _absent(answer)
    name, kwargs = answer.fields["instruction_id_list"][0], answer.fields["kwargs"][0]
    try:
        right = follows(name, kwargs, answer.response)
    except EvaluationError as err:
        raise EvaluationError(f"{answer.where or 'the answers'} (id {answer.id}): {err}") from err
    detail: dict[str, Any] = {"instructions": {name: right}}
    stated = (answer.judged or {}).get("follow_instruction_list")
    if stated is not None:
        detail["stated"] = stated
    return _Found(float(right), "right" if right else "wrong", detail)


def _reasoning(answers: Sequence[Answer], context: Context) -> tuple[dict[int, _Found], bool]:
    """Verdicts on chain-of-thought rows by position: those in the file, the judge's for the rest; whether it was asked."""
    rows = {i: a for i, a in enumerate(answers) if a.subset == "cot"}
    known = {i: a.judged["eval_response"] for i, a in rows.items() if a.judged and "eval_response" in a.judged}
    open_ = [i for i, a in rows.items() if i not in known and a.response is not None]
    replies: dict[int, Any] = {}
    if open_ and context.judge is not None:
        prompts = [prompt(rows[i].fields, rows[i].response or "", context.protocol, "whole") for i in open_]
        replies = dict(zip(open_, context.judge.ask(prompts), strict=True))
    found = {}
    for i, answer in rows.items():
        if answer.response is None:
            found[i] = _absent(answer)
        elif i in known:
            found[i] = _told(known[i])
        elif i not in replies:
            found[i] = _Found(None, "scored", {"judge": None})
        elif replies[i].error is not None:
            found[i] = _Found(0.0, "judge_failed", {"judge_error": replies[i].error})
        else:
            found[i] = _told(replies[i].texts[0])
    return found, bool(replies)


def _told(reply: str) -> _Found:
    said = verdict(reply)
    outcome = {True: "right", False: "wrong", None: "unparsed"}[said]
    return _Found(float(bool(said)), outcome, {"judge": reply})


def _item(answer: Answer, found: _Found, task: tasks.Task | None) -> ItemScore:
    fields = answer.fields
    groups = {"part": answer.subset, "dataset": str(fields.get("dataset", ""))}
    if answer.subset in ("closed", "creative"):
        name = fields["instruction_id_list"][0]
        groups |= {"group": GROUPS.get(name, "other"), "instruction": name}
    detail = {"instruction": fields["instruction"], "audios": [fields["audio_filepath"]], **found.detail}
    outcome = found.outcome
    if task is not None:
        detail["task"] = task.to_dict()
        if answer.subset == "closed_woprompt":
            outcome = task.outcome
    label = fields.get("label")
    return ItemScore(answer.id, found.value, outcome, groups, answer.subset, answer.response, label, None, detail)


def _counts(items: Sequence[ItemScore], unjudged: int, levels: Mapping[int, Any]) -> dict[str, int]:
    outcomes = Counter(i.outcome for i in items)
    named = {k: outcomes[k] for k in ("missing", "failed", "unparsed", "judge_failed")}
    answered = sum(i.response is not None for i in items)
    return {"items": len(items), "answered": answered, **named, "unjudged": unjudged, "task_judged": len(levels)}


def _notes(answers: Sequence[Answer], items: Sequence[ItemScore], unjudged: int, context: Context) -> list[str]:
    notes = []
    without = [part for part in rates.IFRATE if not any(i.subset == part for i in items)]
    if without:
        notes.append(
            f"There are no answers of {', '.join(without)}, so that if_rate, the mean of three parts, is not defined."
        )
    if unjudged:
        notes.append(
            f"{unjudged} chain-of-thought answers have no verdict, so that cot and if_rate are not defined: give --judge "
            f"(official: {JUDGE}), or the folder with reports/llm_eval@chain-of-thought.jsonl."
        )
    absent = sum(i.response is None for i in items)
    if absent:
        notes.append(
            f"{absent} items have no response and count as not followed; the official code knows no such items."
        )
    unparsed = sum(i.outcome == "unparsed" and i.subset == "cot" for i in items)
    if unparsed:
        notes.append(
            f"{unparsed} replies of the judge hold no 'Result: YES' or 'Result: NO' and count as not followed; the official script "
            "stops with an error there."
        )
    compared = [i for i in items if "stated" in i.detail]
    if compared:
        other = [i.id for i in compared if list(i.detail["instructions"].values()) != i.detail["stated"]]
        first = f" (first: {other[0]})" if other else ""
        notes.append(
            f"The file's own rule verdicts: {len(compared) - len(other)} of {len(compared)} agree with ours{first}."
        )
    if any(a.judged and "eval_response" in a.judged for a in answers):
        notes.append(
            f"Verdicts of a judge stand in the file, which does not say whose; the official script asks {JUDGE}."
        )
    if context.judge and context.judge.model != JUDGE:
        notes.append(f"The published figures are {JUDGE}'s verdicts; here: {context.judge.model}.")
    return notes
