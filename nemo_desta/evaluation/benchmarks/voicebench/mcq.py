"""openbookqa and mmsu: which letter does a response name? (src/evaluator/mcq.py)"""

from collections.abc import Iterator
from functools import cache

from nemo_desta.evaluation.benchmarks.voicebench.tables import table

__all__ = ["CHANCE", "LETTERS", "letter"]

LETTERS = ("A", "B", "C", "D")
CHANCE = 0.25
"""The official code draws one of four letters where it finds none."""


def letter(response: str) -> str | None:
    """The letter that the official templates read out of a response; None where the official code draws one.

    The response is lower-cased and loses one leading <1>, <2> or <3>. The first template that is found anywhere decides, however
    loose ("vitamin a." is A), and of one template the earliest letter, not the earliest place. Only then a response counts
    that is a bare letter (blanks around it are not forgiven) or opens with a letter and one of ". , : )".
    """
    text = response.lower()
    if text.startswith(("<1>", "<2>", "<3>")):
        text = text[3:].strip()
    found = next((choice for phrase, choice in _phrases() if phrase in text), None)
    if found is None:
        found = next((c for c in LETTERS if _opens(text, c.lower())), None)
    if found is None:
        found = next((choice for phrase, choice in table("mcq")["last"] if phrase in text), None)
    return found


@cache
def _phrases() -> tuple[tuple[str, str], ...]:
    return tuple(_filled())


def _filled() -> Iterator[tuple[str, str]]:
    for template in table("mcq")["templates"]:
        for choice in LETTERS:
            yield template.replace("@", choice.lower()), choice


def _opens(text: str, choice: str) -> bool:
    return text == choice or text.startswith(tuple(choice + mark for mark in ".,:)"))
