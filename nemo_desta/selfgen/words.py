"""Words of a text in any script, and what a seed description says, read back from its text."""

import re

__all__ = ["UNSPACED", "seed_attributes", "seed_pairs", "seed_words", "words"]

UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Character class of the scripts that put no spaces between words: Thai, Lao, Myanmar, Khmer, kana, Chinese characters."""

_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_SPAN = re.compile(r"^\[[\d:]+-[\d:]+\]\s*")
_NAME = r"[^\W\d_][^:,()]*(?:\([^()]*\))?"  # `Emotion`, `Reverberation (C50)`
_GROUP = re.compile(rf"\(({_NAME}:.*)\)\s*$")
_NEXT = re.compile(rf",\s+(?={_NAME}:)")


def words(text: str) -> list[str]:
    """Lower-case words without punctuation; single characters where the script has no spaces."""
    return _WORD.findall(text.lower())


def seed_attributes(description: str) -> dict[str, str]:
    """The attributes of a seed description, by name; those of several lines with one name stand joined by "; ".

    Reads the form `[MM:SS-MM:SS] spoken text (Attribute: value, ...)`, that of the released DeSTA-AQA5M too.
    """
    found: dict[str, list[str]] = {}
    for name, value in seed_pairs(description):
        found.setdefault(name, []).append(value)
    return {name: "; ".join(values) for name, values in found.items()}


def seed_pairs(description: str) -> list[tuple[str, str]]:
    """(name, value) of each attribute, in order, each pair once."""
    parts = (part.partition(":") for line in description.splitlines() for part in _NEXT.split(_attributes(line)))
    return list(dict.fromkeys((n.strip(), v.strip()) for n, colon, v in parts if colon and n.strip() and v.strip()))


def seed_words(description: str) -> str:
    """The spoken words of a seed description, lines joined by a space; empty when nothing is spoken."""
    spoken = []
    for line in description.splitlines():
        inner = _attributes(line)
        text = _SPAN.sub("", line)
        spoken.append(text.rstrip()[: -len(inner) - 2].strip() if inner else text.strip())
    return " ".join(filter(None, spoken))


def _attributes(line: str) -> str:
    """What stands in the last group of parentheses that begins like an attribute; a bracket in the speech is none."""
    start, inner = line.find("("), ""
    while start >= 0:
        match = _GROUP.match(line, start)
        if match:
            inner = match[1]
            if ")" not in re.sub(r"\([^()]*\)", "", inner):
                return inner
        start = line.find("(", start + 1)
    return inner
