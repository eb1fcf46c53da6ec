"""SAKURA's rules: the judge's verdict as published, and a rule of ours that reads the chosen option."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nemo_desta import __version__
from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import Context, Rule
from nemo_desta.evaluation.items import Answer
from nemo_desta.evaluation.judging import JudgePrompt
from nemo_desta.evaluation.protocol import text_constant
from nemo_desta.evaluation.refusals import declines
from nemo_desta.evaluation.scores import ItemScore, Metric, Scores, bootstrap_metric, by_groups, mean_metric

__all__ = ["RULES", "chosen", "options", "protocol", "score", "verdict"]

RULES = (
    Rule(
        "judge",
        "an LLM judge is shown question, gold answer and response; 'correct' counts, all else is wrong (llm_judge.py, calculate_acc.py)",
        "ckyang1124/SAKURA a1fdb14",
        judge="gpt-4o-2024-11-20",
        needs_judge=True,
    ),
    Rule(
        "choice-match",
        "ours, without a judge: right where the response names the gold option and no other; not comparable with published figures",
        f"nemo_desta {__version__}",
        official=False,
    ),
)
_VERDICT = re.compile(r"Explanation: (.*?)\nJudgement: (.*?)(?:\n\n|$)", re.DOTALL)
_OPTION = re.compile(r"\(([a-z])\)\s*(.*?)\s*(?=\([a-z]\)|$)", re.DOTALL)
_LETTER = re.compile(r"\(([a-z])\)|^\W*([a-z])\W*$|^\s*([a-z])[).:]", re.IGNORECASE)


def protocol(clone: Path) -> dict[str, str]:
    """System prompt and user template of the official judge, out of evaluation/llm_judge.py."""
    path = clone / "evaluation" / "llm_judge.py"
    return {
        "judge_system": text_constant(path, "system_prompt"),
        "judge_user": text_constant(path, "user_prompt_template"),
    }


def verdict(text: str) -> str | None:
    """What the judge decided: "correct", "incorrect", or None where the official parse finds neither.

    'correct.' and '"correct"' are neither: only case and blanks at the ends are forgiven (extract_judgement, calculate_acc.py).
    """
    found = _VERDICT.search(text)
    word = found.group(2).lower().strip() if found else ""
    return word if word in ("correct", "incorrect") else None


def options(instruction: str) -> dict[str, str]:
    """Letter -> text of the options that a question ends with: "... (a) dog (b) cat"."""
    return {letter: text.strip() for letter, text in _OPTION.findall(instruction)}


def chosen(response: str, choices: dict[str, str]) -> set[str]:
    """Letters of the options that a response names: by "(b)", by a letter that stands alone or opens it ("b", "B. dog"), else by
    the option's whole words; where letter and words disagree ("(c) dog" of "(b) dog"), both.

    Of an option whose words lie within another that is named ("lion" in "sea lion"), only what stands by itself counts.
    """
    letters = {next(filter(None, m.groups())).lower() for m in _LETTER.finditer(response)} & set(choices)
    words = _by_words(response.lower(), choices)
    return letters | words if not letters & words else letters


def _by_words(text: str, choices: dict[str, str]) -> set[str]:
    found = set()
    for letter, words in sorted(choices.items(), key=lambda c: -len(c[1])):
        pattern = rf"(?<!\w){re.escape(words.lower())}(?!\w)"
        if words and re.search(pattern, text):
            found.add(letter)
            text = re.sub(pattern, "\0", text)
    return found


@dataclass(frozen=True)
class _Judged:
    """What is known of one item: value, outcome, detail."""

    value: float
    outcome: str
    detail: dict[str, Any]


def score(answers: Sequence[Answer], context: Context) -> Scores:
    """See `Benchmark.score`; single, multi, and multi given that single is right."""
    judged = _by_judge(answers, context) if context.rule.name == "judge" else [_by_choice(a) for a in answers]
    items = tuple(_item(a, j) for a, j in zip(answers, judged, strict=True))
    metrics = (
        _average(items),
        *by_groups(items, ["hops"], lambda group, members: _mean_of_tracks(group, members)),
        _given_single("all", items),
        *by_groups(items, ["test"], _accuracy),
        *by_groups(items, ["track"], _given_single),
    )
    notes = (_RULE_NOTES[context.rule.name], *_judge_notes(answers, context))
    described = context.judge.describe() if context.judge and context.rule.name == "judge" else None
    return Scores("sakura", {}, metrics, items, _counts(items), notes, {}, described)


_RULE_NOTES = {
    "judge": "All questions are in the denominator; a verdict that cannot be read counts as not correct, as officially.",
    "choice-match": "An answer that names no option, or several, is unparsed and counts as wrong.",
}


def _by_choice(answer: Answer) -> _Judged:
    choices, label = options(answer.fields["instruction"]), answer.fields["label"].strip()
    gold = chosen(label, choices)
    if len(gold) != 1:
        raise EvaluationError(
            f"{answer.where} (id {answer.id}): the gold answer {label!r} names no single option of the question."
        )
    if answer.response is None:
        return _Judged(0.0, "failed" if answer.error else "missing", {})
    named = chosen(answer.response, choices)
    detail = {"parsed": ", ".join(sorted(named)) or None}
    if len(named) == 1:
        return _Judged(float(named == gold), "right" if named == gold else "wrong", detail)
    return _Judged(0.0, "refused" if not named and declines(answer.response) else "unparsed", detail)


def _by_judge(answers: Sequence[Answer], context: Context) -> list[_Judged]:
    """Verdicts that the file holds, and the judge's for the rest."""
    open_ = [i for i, a in enumerate(answers) if a.judged is None and a.response is not None]
    if open_ and context.judge is None:
        raise EvaluationError(
            f"{len(open_)} of {len(answers)} answers have no verdict; give --judge (official: {context.rule.judge}), "
            "or score with --rule choice-match, which is not the official figure."
        )
    prompts = [_prompt(answers[i], context) for i in open_]
    replies = dict(zip(open_, context.judge.ask(prompts) if prompts else [], strict=True))
    return [_told(a, replies.get(i)) for i, a in enumerate(answers)]


def _prompt(answer: Answer, context: Context) -> JudgePrompt:
    """The official prompt, filled in the official order: a response that holds "[GROUND_TRUTH_ANSWER]" is filled in, too."""
    try:
        system, user = context.protocol["judge_system"], context.protocol["judge_user"]
    except KeyError as err:
        raise EvaluationError(
            "the judge's prompt stands in SAKURA's repository (evaluation/llm_judge.py); give --data or --protocol with a clone."
        ) from err
    user = user.replace("[QUESTION]", answer.fields["instruction"]).replace(
        "[MODEL_GENERATED_RESPONSE]", answer.response or ""
    )
    user = user.replace("[GROUND_TRUTH_ANSWER]", answer.fields["label"])
    return JudgePrompt((("system", system), ("user", user)), temperature=0.0, top_p=0.9)


def _told(answer: Answer, reply: Any) -> _Judged:
    if answer.judged is not None:
        word = str(answer.judged.get("Judgement", "")).lower().strip()
        said = word if word in ("correct", "incorrect") else None
        return _verdict_of(said, {"judge": str(answer.judged.get("Judgement", ""))})
    if reply is None:
        return _Judged(0.0, "failed" if answer.error else "missing", {})
    if reply.error is not None:
        return _Judged(0.0, "judge_failed", {"judge_error": reply.error})
    return _verdict_of(verdict(reply.texts[0]), {"judge": reply.texts[0]})


def _verdict_of(said: str | None, detail: dict[str, Any]) -> _Judged:
    outcome = {"correct": "right", "incorrect": "wrong", None: "unparsed"}[said]
    return _Judged(float(said == "correct"), outcome, detail)


def _item(answer: Answer, judged: _Judged) -> ItemScore:
    fields = answer.fields
    choices = options(fields["instruction"])
    detail = {
        "instruction": fields["instruction"],
        "clip": f"{fields['attribute']}/{Path(fields['file']).stem}",
        **judged.detail,
    }
    if "audio" in fields:
        detail["audios"] = [fields["audio"]]
    groups = {"track": fields["attribute"], "hops": fields["type"]}
    groups["test"] = f"{fields['attribute']} {fields['type']}"
    return ItemScore(
        answer.id, judged.value, judged.outcome, groups, fields["attribute"], answer.response, fields["label"],
        1 / len(choices) if choices else None, detail,
    )  # fmt: skip


def _accuracy(group: str, items: Sequence[ItemScore]) -> Metric:
    return mean_metric("accuracy", [i.value or 0.0 for i in items], group, chance=_chance(items))


def _average(items: Sequence[ItemScore]) -> Metric:
    return _mean_of_tracks("all", items)


def _mean_of_tracks(group: str, items: Sequence[ItemScore]) -> Metric:
    """Mean over tracks (and hops) of their accuracies, as the README's averages; interval by bootstrap within each."""
    cells = list(_cells(items).values())
    values = [np.array([i.value or 0.0 for i in cell]) for cell in cells]
    chance = float(np.mean([_chance(cell) for cell in cells])) if all(_chance(c) is not None for c in cells) else None
    return bootstrap_metric("accuracy", values, group, chance=chance, note="mean of tracks")


def _cells(items: Sequence[ItemScore]) -> dict[str, list[ItemScore]]:
    cells: dict[str, list[ItemScore]] = {}
    for item in items:
        cells.setdefault(item.groups["test"], []).append(item)
    return cells


def _given_single(group: str, items: Sequence[ItemScore]) -> Metric:
    """Accuracy on multi-hop questions about the clips whose single-hop question was answered right."""
    right = {i.detail["clip"] for i in items if i.groups["hops"] == "single" and i.value}
    multi = [i for i in items if i.groups["hops"] == "multi" and i.detail["clip"] in right]
    note = "multi-hop, given that single-hop is right"
    return mean_metric("multi_given_single", [i.value or 0.0 for i in multi], group, chance=_chance(multi), note=note)


def _chance(items: Sequence[ItemScore]) -> float | None:
    known = [i.chance for i in items if i.chance is not None]
    return 100 * sum(known) / len(known) if known else None


def _counts(items: Sequence[ItemScore]) -> dict[str, int]:
    outcomes = [i.outcome for i in items]
    named = {k: outcomes.count(k) for k in ("missing", "failed", "unparsed", "refused", "judge_failed")}
    return {"items": len(items), "answered": sum(i.response is not None for i in items), **named}


def _judge_notes(answers: Sequence[Answer], context: Context) -> list[str]:
    if context.rule.name != "judge":
        return []
    models = {a.judged.get("model") for a in answers if a.judged} | ({context.judge.model} if context.judge else set())
    other = sorted(str(m) for m in models if m != context.rule.judge)
    return [f"The published figures are {context.rule.judge}'s verdicts; here: {', '.join(other)}."] if other else []
