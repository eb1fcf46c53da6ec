"""A judge's verdicts on open questions and on sd-qa: those that a file holds, and those to ask for (api_judge.py)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import Context
from nemo_desta.evaluation.items import Answer
from nemo_desta.evaluation.judging import JudgePrompt, Reply
from nemo_desta.evaluation.protocol import text_constant

__all__ = ["collect", "prompt_for", "protocol"]

_SYSTEM = "You are a helpful assistant who tries to help answer the user's question."
_REPLIES = 3


def protocol(clone: Path) -> dict[str, str]:
    """The prompts of api_judge.py: `open` (a scale of 1 to 5) and `qa` (yes or no, against a reference)."""
    path = clone / "api_judge.py"
    # meta_prompt_qa is stripped where it is assigned; meta_prompt_open is sent with its line breaks.
    return {"open": text_constant(path, "meta_prompt_open"), "qa": text_constant(path, "meta_prompt_qa")}


def prompt_for(answer: Answer, rule: str, texts: Mapping[str, str]) -> JudgePrompt:
    """The official question to the judge, filled in the official order: a prompt that holds "{response}" is filled in, too.

    Raises:
        EvaluationError: the text is not there.
    """
    if rule not in texts:
        raise EvaluationError(
            "the judge's prompts stand in VoiceBench's repository (api_judge.py); give --protocol with a clone of "
            "MatthewCYM/VoiceBench."
        )
    text = texts[rule].replace("{prompt}", answer.fields["prompt"])
    if rule == "qa":
        text = text.replace("{reference}", answer.fields["reference"])
    text = text.replace("{response}", answer.response or "")
    messages = (("system", _SYSTEM), ("user", text))
    return JudgePrompt(messages, temperature=0.5, top_p=0.95, max_tokens=1024, n=_REPLIES)


def collect(answers: Sequence[tuple[Answer, str]], context: Context) -> dict[str, Reply]:
    """Id -> the judge's replies, stripped. What the file holds is taken as it is; the rest is asked for in one go.

    Args:
        answers: (answer, rule), rules open and qa.

    Returns:
        No entry where nobody was asked: no response, or no judge.

    Raises:
        EvaluationError: `score` of the file is no list of texts, or the judge's prompts are not there.
    """
    held = {a.id: Reply(_held(a)) for a, _ in answers if a.judged is not None}
    if context.judge is None:
        return held
    asked = [(a, rule) for a, rule in answers if a.id not in held and a.response is not None]
    prompts = [prompt_for(a, rule, context.protocol) for a, rule in asked]
    replies = context.judge.ask(prompts) if prompts else []
    told = {a.id: reply for (a, _), reply in zip(asked, replies, strict=True)}
    return held | {name: Reply(tuple(t.strip() for t in r.texts), r.error) for name, r in told.items()}


def _held(answer: Answer) -> tuple[str, ...]:
    scores: Any = answer.judged if isinstance(answer.judged, list | tuple) else [answer.judged]
    if not all(isinstance(s, str | int | float) for s in scores):
        raise EvaluationError(
            f"{answer.where} (id {answer.id}): 'score' must be a list of the judge's texts, it is {answer.judged!r}."
        )
    return tuple(map(str, scores))
