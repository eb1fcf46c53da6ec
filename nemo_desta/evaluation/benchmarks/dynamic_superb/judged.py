"""Asking a judge: whether an answer states the gold answer, or which number it gives. The prompts are ours, see judge.yaml."""

import math
import re
from collections.abc import Sequence

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks.dynamic_superb.instances import asked, instance, table
from nemo_desta.evaluation.items import Answer
from nemo_desta.evaluation.judging import Judge, JudgePrompt, Reply

__all__ = ["ask", "number", "plain_number", "prompt_for", "verdict"]

_PLACES = re.compile(r"\[(QUESTION|LABEL|RESPONSE)\]")
_VERDICT = re.compile(r"\bverdict\W*\b(correct|incorrect)\b", re.IGNORECASE)
_NUMBER = r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?"
_VALUE = re.compile(rf"\bvalue\s*\W{{0,4}}?\s*(?P<value>{_NUMBER}(?![\w/]|[.,]\w)|n\s*/?\s*a\b)", re.IGNORECASE)


def prompt_for(answer: Answer, label: str, what: str) -> JudgePrompt:
    """The question to the judge; temperature 0.

    Args:
        what: "verdict" or "number".
    """
    texts = table("judge")[what]
    question = asked(instance(str(answer.fields["instance"])), answer.fields)
    values = {"QUESTION": question, "LABEL": label, "RESPONSE": answer.response or ""}
    user = _PLACES.sub(lambda found: values[found[1]], texts["user"])
    return JudgePrompt((("system", texts["system"].strip()), ("user", user.strip())), temperature=0.0)


def verdict(reply: str) -> bool | None:
    """The last verdict that a reply states; None: none."""
    found = _VERDICT.findall(reply)
    return found[-1].lower() == "correct" if found else None


def number(reply: str) -> float | str | None:
    """The last number that a reply states; "N/A" where it says that there is none; None where it says neither."""
    found = [m["value"] for m in _VALUE.finditer(reply)]
    if not found:
        return None
    value = plain_number(found[-1].replace(",", ""))
    return "N/A" if value is None else value


def plain_number(text: str) -> float | None:
    """The number that a text is; None where it is none, or not finite."""
    try:
        value = float(text.strip())
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def ask(answers: Sequence[tuple[Answer, str, str]], judge: Judge | None) -> dict[str, Reply]:
    """Id -> reply. What the file holds is taken as it is; the rest is asked for in one go.

    Args:
        answers: (answer, gold answer, "verdict" or "number").
        judge: None: nobody is asked.

    Returns:
        No entry where there is no response, or nobody to ask.

    Raises:
        EvaluationError: what the file holds is no text.
    """
    held = {a.id: Reply((_held(a),)) for a, _, _ in answers if a.judged is not None}
    if judge is None:
        return held
    open_ = [(a, label, what) for a, label, what in answers if a.id not in held and a.response is not None]
    replies = judge.ask([prompt_for(*each) for each in open_]) if open_ else []
    return held | {a.id: reply for (a, _, _), reply in zip(open_, replies, strict=True)}


def _held(answer: Answer) -> str:
    if not isinstance(answer.judged, str):
        raise EvaluationError(
            f"{answer.where} (id {answer.id}): the judge's reply must be text, it is {answer.judged!r:.60}."
        )
    return answer.judged
