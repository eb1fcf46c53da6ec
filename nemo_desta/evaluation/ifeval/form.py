"""Checks of how a response is laid out: lists, sections, fences, beginnings and ends. `check(response, arguments) -> bool`."""

import json
import re

from nemo_desta.evaluation.ifeval.arguments import Arguments

__all__ = [
    "bullets",
    "constrained",
    "ends_with",
    "highlights",
    "json_format",
    "no_comma",
    "paragraph_first_word",
    "paragraphs",
    "placeholders",
    "postscript",
    "quotation",
    "repeat_prompt",
    "sections",
    "title",
    "two_responses",
    "without_empty_ends",
]

_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_FENCES = ("```json", "```Json", "```JSON", "```")
_BULLETS = (re.compile(r"^\s*\*[^\*].*$", re.MULTILINE), re.compile(r"^\s*-.*$", re.MULTILINE))
_POSTSCRIPTS = {"P.P.S": r"\s*p\.\s?p\.\s?s.*$", "P.S.": r"\s*p\.\s?s\..*$"}


def paragraphs(response: str, arguments: Arguments) -> bool:
    """Exactly so many parts between *** dividers; an empty part inside fails, at the ends it is not counted."""
    parts = without_empty_ends(re.split(r"\s?\*\*\*\s?", response))
    return parts is not None and len(parts) == arguments.number("num_paragraphs")


def without_empty_ends(parts: list[str]) -> list[str] | None:
    """The parts less an empty first and an empty last one; None where one between them is empty."""
    if not all(part.strip() for part in parts[1:-1]):
        return None
    return [part for part in parts if part.strip()]


def paragraph_first_word(response: str, arguments: Arguments) -> bool:
    """Exactly so many paragraphs that are not empty, and the n-th part begins with a word.

    Quirks kept: parts come from splitting at two newlines, so n counts empty ones ("a\\n\\n\\n\\nb": b is the third) while their
    number does not; the word ends at the first of . , ? ! ' " and leading quotes are dropped, single ones before double ones.
    """
    parts = response.split("\n\n")
    count = sum(bool(part.strip()) for part in parts)
    wanted, nth = arguments.number("num_paragraphs"), arguments.number("nth_paragraph")
    if not 1 <= nth <= count or not parts[nth - 1].strip():
        return False
    word = parts[nth - 1].split()[0].lstrip("'").lstrip('"')
    first = re.split(r"[.,?!'\"]", word, maxsplit=1)[0].lower()
    return count == wanted and first == arguments.text("first_word").lower()


def placeholders(response: str, arguments: Arguments) -> bool:
    """At least so many [...] within lines; [] is one."""
    return len(re.findall(r"\[.*?\]", response)) >= arguments.number("num_placeholders")


def postscript(response: str, arguments: Arguments) -> bool:
    """The marker anywhere, case ignored: "P.S." also as "p. s.", "P.P.S" also as "p. p. s"; any other is a pattern."""
    marker = arguments.text("postscript_marker").strip()
    pattern = _POSTSCRIPTS.get(marker) or rf"\s*{marker.lower()}.*$"
    return re.search(arguments.pattern(pattern).pattern, response.lower(), re.MULTILINE) is not None


def bullets(response: str, arguments: Arguments) -> bool:
    """Exactly so many lines that begin with "*" (but not "**") or with "-"; a lone "*" takes the next line with it."""
    return sum(len(b.findall(response)) for b in _BULLETS) == arguments.number("num_bullets")


def constrained(response: str, arguments: Arguments) -> bool:
    """One of the three answers stands somewhere, with its full stop."""
    return any(option in response for option in _OPTIONS)


def highlights(response: str, arguments: Arguments) -> bool:
    """At least so many *...* within a line that hold something; **...** counts once more where it holds something.

    "**a**" is one: of its single-starred halves both are empty.
    """
    single = [h for h in re.findall(r"\*[^\n\*]*\*", response) if h.strip("*").strip()]
    double = [h for h in re.findall(r"\*\*[^\n\*]*\*\*", response) if h[2:-2].strip()]
    return len(single) + len(double) >= arguments.number("num_highlights")


def sections(response: str, arguments: Arguments) -> bool:
    """At least so many times the splitter, a pattern, with a number after it; case counts."""
    splitter = arguments.text("section_spliter").strip()
    pattern = arguments.pattern(rf"\s?{splitter}\s?\d+\s?").pattern
    return len(re.split(pattern, response)) - 1 >= arguments.number("num_sections")


def json_format(response: str, arguments: Arguments) -> bool:
    """JSON of any kind, a bare number too, between fences or without; what stands beside the fences fails."""
    text = response.strip()
    for fence in _FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(response: str, arguments: Arguments) -> bool:
    """<<...>> within a line that holds more than brackets and blanks; the longest stretch of a line is looked at."""
    return any(t.lstrip("<").rstrip(">").strip() for t in re.findall(r"<<[^\n]+>>", response))


def two_responses(response: str, arguments: Arguments) -> bool:
    """Exactly two different parts between ******; an empty part inside fails, at the ends it is not counted."""
    parts = without_empty_ends(response.split("******"))
    return parts is not None and len(parts) == 2 and parts[0].strip() != parts[1].strip()


def repeat_prompt(response: str, arguments: Arguments) -> bool:
    """Begins with the text to repeat, case ignored."""
    return response.strip().lower().startswith(arguments.text("prompt_to_repeat").strip().lower())


def ends_with(response: str, arguments: Arguments) -> bool:
    """Ends with the phrase, case ignored; double quotes around the response do no harm."""
    return response.strip().strip('"').lower().endswith(arguments.text("end_phrase").strip().lower())


def quotation(response: str, arguments: Arguments) -> bool:
    """Begins and ends with a double quote."""
    text = response.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def no_comma(response: str, arguments: Arguments) -> bool:
    """No comma."""
    return "," not in response
