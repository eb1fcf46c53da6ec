"""Google's 25 instruction checkers, strict and loose (google-research/instruction_following_eval, Apache-2.0).

The rules, quirks included, are those of `instructions.py`; the code is our own. Two things differ, on purpose: languages are
detected with a fixed seed (the original detects at random), and arguments that the original would draw at random are an error.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.ifeval import content, form
from nemo_desta.evaluation.ifeval.arguments import Arguments
from nemo_desta.schema import suggest

__all__ = ["INSTRUCTIONS", "check_loose", "check_strict", "drawn_at_random", "variants"]

INSTRUCTIONS = {
    "keywords:existence": content.keywords,
    "keywords:frequency": content.keyword_frequency,
    "keywords:forbidden_words": content.forbidden_words,
    "keywords:letter_frequency": content.letter_frequency,
    "language:response_language": content.language,
    "length_constraints:number_sentences": content.number_sentences,
    "length_constraints:number_paragraphs": form.paragraphs,
    "length_constraints:number_words": content.number_words,
    "length_constraints:nth_paragraph_first_word": form.paragraph_first_word,
    "detectable_content:number_placeholders": form.placeholders,
    "detectable_content:postscript": form.postscript,
    "detectable_format:number_bullet_lists": form.bullets,
    "detectable_format:constrained_response": form.constrained,
    "detectable_format:number_highlighted_sections": form.highlights,
    "detectable_format:multiple_sections": form.sections,
    "detectable_format:json_format": form.json_format,
    "detectable_format:title": form.title,
    "combination:two_responses": form.two_responses,
    "combination:repeat_prompt": form.repeat_prompt,
    "startend:end_checker": form.ends_with,
    "startend:quotation": form.quotation,
    "change_case:capital_word_frequency": content.capital_words,
    "change_case:english_capital": content.english_capital,
    "change_case:english_lowercase": content.english_lowercase,
    "punctuation:no_comma": form.no_comma,
}
"""Instruction id -> check(response, arguments)."""


def check_strict(instruction_id: str, kwargs: Mapping[str, Any], prompt: str, response: str) -> bool:
    """Whether a response follows one instruction; an empty response never does.

    Args:
        instruction_id: a key of `INSTRUCTIONS`.
        kwargs: the instruction's arguments as the data has them; nulls and foreign keys do no harm.
        prompt: unused by all 25 (repeat_prompt has the text in its kwargs), as officially.

    Raises:
        EvaluationError: no such instruction, or an argument is missing or of another kind.
    """
    check, arguments = _find(instruction_id, kwargs)
    return bool(response.strip()) and check(response, arguments)


def check_loose(instruction_id: str, kwargs: Mapping[str, Any], prompt: str, response: str) -> bool:
    """Whether any of the eight `variants` of a response follows one instruction. Arguments and errors: `check_strict`."""
    check, arguments = _find(instruction_id, kwargs)
    return any(check(text, arguments) for text in variants(response) if text.strip())


def variants(response: str) -> Sequence[str]:
    """The response; without its first line, its last line, both (these stripped); and each of the four without asterisks."""
    lines = response.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    return [text for whole in (response, *cut) for text in (whole, whole.replace("*", ""))]


def drawn_at_random(instruction_id: str, kwargs: Mapping[str, Any]) -> str | None:
    """What the original would draw at random though the data states it, so that its own figure changes from run to run.

    A letter that is none ("!", "#"): here that character is counted, as the prompt says. None: nothing is drawn.
    """
    letter = kwargs.get("letter")
    if instruction_id == "keywords:letter_frequency" and letter and not content.is_letter(letter):
        return f"letter {letter!r}"
    return None


def _find(instruction_id: str, kwargs: Mapping[str, Any]) -> tuple[Any, Arguments]:
    if instruction_id not in INSTRUCTIONS:
        raise EvaluationError(
            f"no instruction {instruction_id!r} among Google's 25{suggest(instruction_id, INSTRUCTIONS)}"
        )
    return INSTRUCTIONS[instruction_id], Arguments(instruction_id, kwargs)
