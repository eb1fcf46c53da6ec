"""Rules that read the answer without a judge, and the options that a question names."""

import re
from functools import lru_cache

from nemo_desta.evaluation.word_errors import normalize_basic

__all__ = ["chance", "consecutive_words", "exact", "exact_strip", "named", "options"]

_OPTIONS = re.compile(
    r"\banswers?\s+(?:could|can|should|may|might|must|will)\s+be\s+(?:either\s+)?(?P<all>.+?)(?:[.!?;:](?=\s|$)|\n|$)",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r"\s*,\s*or\s+|\s*,\s*|\s+or\s+", re.IGNORECASE)
_QUOTES = " \t\"'“”‘’"


def exact(response: str, label: str) -> bool:
    """Phase 1's accuracy (api/metrics/accuracy.py): equal but for case; blanks, full stops and quotes count."""
    return response.lower() == label.lower()


def exact_strip(response: str, label: str) -> bool:
    """As `exact`, blanks at the response's ends taken off, as the baseline's script does (multimodal-llama); the label's stay."""
    return response.strip().lower() == label.lower()


def consecutive_words(response: str, label: str) -> bool:
    """Whether the label's words stand in the response one after another, after Whisper's basic normaliser (desta/utils/metrics.py).

    Loose: an answer that lists all options holds each of them, "not clean" holds "clean", and a label without words is in any answer.
    """
    said, wanted = _words(response), _words(label)
    return any(said[i : i + len(wanted)] == wanted for i in range(len(said) - len(wanted) + 1))


@lru_cache(maxsize=4096)
def _words(text: str) -> tuple[str, ...]:
    return tuple(normalize_basic(text).split())


@lru_cache(maxsize=4096)
def options(instruction: str) -> tuple[str, ...]:
    """The options that a question names, "The answer could be a, b, or c."; () where it names none, or one.

    What is not told apart: an option that holds a comma or the word "or".
    """
    found = list(_OPTIONS.finditer(instruction))
    if not found:
        return ()
    parts = (part.strip(_QUOTES) for part in _BETWEEN.split(found[-1]["all"]))
    distinct = tuple(dict.fromkeys(p for p in parts if p))
    return distinct if len(distinct) > 1 else ()


def chance(instruction: str, label: str) -> float | None:
    """What a guess among the options is worth; None where the question names none, or the label is not among them."""
    choices = [c.lower() for c in options(instruction)]
    return 1 / len(choices) if label.strip().lower() in choices else None


def named(response: str, instruction: str) -> tuple[str, ...]:
    """The options whose words stand in a response: for a count of what cannot be read, never for a score."""
    return tuple(c for c in options(instruction) if _words(c) and consecutive_words(response, c))
