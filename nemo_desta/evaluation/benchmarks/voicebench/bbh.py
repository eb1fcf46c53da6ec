"""bbh: yes or no, (a) or (b)? An interpreter for the tests in bbh.yaml (src/evaluator/bbh.py)."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks.voicebench.tables import table

__all__ = ["CHANCE", "Reading", "gold", "normalised", "read_answer", "task_of"]

CHANCE = 0.5
"""The official code draws 0 or 1 where no test is passed."""

TASKS = ("sports_understanding", "hyperbaton", "navigate", "web_of_lies")
_GOLD = {"yes": 1, "no": 0, "(a)": 0, "(b)": 1}
_BLANKS = (":", "**", '"', "-", ",", ".", "：")
_EITHER = re.compile(r"\{(\w+)\|(\w+)\}")
_TESTS: dict[str, Callable[[str, str], bool]] = {
    "equals": lambda said, text: said == text,
    "contains": lambda said, text: text in said,
    "starts": lambda said, text: said.startswith(text),
    "ends": lambda said, text: said.endswith(text),
    "matches": lambda said, text: re.search(text, said) is not None,
}


@dataclass(frozen=True)
class Reading:
    """What was read out of a response.

    Attributes:
        verdict: 0 (no, option a) or 1 (yes, option b); None where the official code draws one.
        test: the test that decided, as "contains: answer is no"; "".
    """

    verdict: int | None
    test: str = ""


def task_of(name: str) -> str:
    """The task that an id names; where it names several, the first of `TASKS`, as officially.

    Raises:
        EvaluationError: none; the official code stops there, too.
    """
    task = next((t for t in TASKS if t in name), None)
    if task is None:
        raise EvaluationError(f"bbh: the id {name!r} names none of the tasks {', '.join(TASKS)}; is it a file of bbh?")
    return task


def gold(reference: str) -> int:
    """The verdict that a gold answer stands for.

    Raises:
        EvaluationError: it is none of yes, no, (a), (b).
    """
    if reference.lower() not in _GOLD:
        raise EvaluationError(f"bbh: the gold answer {reference!r} is none of {', '.join(_GOLD)}.")
    return _GOLD[reference.lower()]


def normalised(response: str) -> str:
    """Lower case, without the tokens that some models leave, punctuation that does not matter as blanks, blanks as one."""
    text = response.lower()
    if text.endswith("<|user|>"):
        text = text.removesuffix("<|user|>").strip()
    if text.startswith(("<1>", "<2>", "<3>")):
        text = text[3:].strip()
    text = text.replace("<|turn_end|>", "")
    for mark in _BLANKS:
        text = text.replace(mark, " ")
    return " ".join(text.split())


def read_answer(response: str, task: str) -> Reading:
    """The verdict of the first test of the task's table that the response passes.

    Args:
        response: as the model wrote it.
        task: one of `TASKS`.
    """
    said = normalised(response)
    for test, text, verdict in _tests(task):
        if _TESTS[test](said, text):
            return Reading(verdict, f"{test}: {text}")
    return Reading(None)


@cache
def _tests(task: str) -> tuple[tuple[str, str, int], ...]:
    names = [task] if task == "hyperbaton" else ["yes_no", task]
    return tuple(test for name in names for entry in table("bbh")[name] for test in _expanded(*entry))


def _expanded(test: str, text: str, verdict: int | None = None) -> Iterator[tuple[str, str, int]]:
    if verdict is not None:
        yield test, text, verdict
        return
    for number in (0, 1):
        yield test, _EITHER.sub(lambda m, n=number: m.group(n + 1), text), number
