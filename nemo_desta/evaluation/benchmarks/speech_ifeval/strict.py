"""Speech-IFEval's checkers: Google's, five of them changed (its instruction_following_eval/instructions.py).

Strict only, one instruction a response, and case checks do not look at the language.
"""

import re
from collections.abc import Mapping
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.ifeval import form
from nemo_desta.evaluation.ifeval.arguments import Arguments
from nemo_desta.evaluation.ifeval.google import INSTRUCTIONS as GOOGLE
from nemo_desta.schema import suggest

__all__ = ["GROUPS", "INSTRUCTIONS", "follows"]

GROUPS = {
    "detectable_format:number_bullet_lists": "bullet_lists",
    "length_constraints:number_words": "length_constraints",
    "length_constraints:number_sentences": "length_constraints",
    "length_constraints:number_paragraphs": "length_constraints",
    "keywords:forbidden_words": "keywords",
    "keywords:existence": "keywords",
    "change_case:english_capital": "change_case",
    "change_case:english_lowercase": "change_case",
    "detectable_format:json_format": "json_format",
    "startend:quotation": "wrapping",
    "detectable_format:title": "wrapping",
    "combination:repeat_prompt": "startend",
    "startend:end_checker": "startend",
}
"""Instruction id -> group of the official report (print_report of evaluation_main.py); any other one is "other"."""

_BULLETS = tuple(re.compile(rf"^\s*{mark}.*$", re.MULTILINE) for mark in (r"\*[^\*]", "-", "•", r"\d"))


def _bullets(response: str, arguments: Arguments) -> bool:
    """Exactly so many lines that begin with * (not **), -, • or a digit; backslash and n are taken for a line break first."""
    text = response.replace("\\n", "\n")
    return sum(len(mark.findall(text)) for mark in _BULLETS) == arguments.number("num_bullets")


def _paragraphs(response: str, arguments: Arguments) -> bool:
    """Exactly so many parts between *** or runs of line breaks; a part of blanks inside fails, at the ends it is not counted."""
    parts = form.without_empty_ends(re.split(r"\s*\*\*\*\s*|\n{1,}", response.strip()))
    return parts is not None and len(parts) == arguments.number("num_paragraphs")


def _capital(response: str, arguments: Arguments) -> bool:
    """No lower-case letter and at least one capital, in any language."""
    return response.isupper()


def _lowercase(response: str, arguments: Arguments) -> bool:
    """No capital and at least one lower-case letter, in any language."""
    return response.islower()


def _repeats(response: str, arguments: Arguments) -> bool:
    """Begins with the text to repeat, case and quotes around the response ignored."""
    text = response.strip().lower().strip("\"'")
    return text.startswith(arguments.text("prompt_to_repeat").strip().lower())


INSTRUCTIONS = {
    **GOOGLE,
    "detectable_format:number_bullet_lists": _bullets,
    "length_constraints:number_paragraphs": _paragraphs,
    "change_case:english_capital": _capital,
    "change_case:english_lowercase": _lowercase,
    "combination:repeat_prompt": _repeats,
}
"""Instruction id -> check(response, arguments); the data uses the 13 of `GROUPS`."""


def follows(instruction_id: str, kwargs: Mapping[str, Any], response: str) -> bool:
    """Whether a response follows one instruction; an empty one never does (test_instruction_following_strict).

    Raises:
        EvaluationError: no such instruction, or an argument is missing or of another kind.
    """
    if instruction_id not in INSTRUCTIONS:
        raise EvaluationError(
            f"Speech-IFEval has no instruction {instruction_id!r}{suggest(instruction_id, INSTRUCTIONS)}"
        )
    return bool(response.strip()) and INSTRUCTIONS[instruction_id](response, Arguments(instruction_id, kwargs))
