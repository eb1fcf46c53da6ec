"""Pieces of Markdown whose content comes from data."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

__all__ = ["fenced", "plain", "shares", "table"]

_SPECIAL = re.compile(r"([\\`*{}\[\]<>#|~])")


def plain(text: object) -> str:
    """One line of text that Markdown leaves as it is; half surrogate pairs, which no file can hold, become `?`."""
    line = " ".join(str(text).split()).encode("utf-8", "replace").decode("utf-8")
    return _SPECIAL.sub(r"\\\1", line)


def fenced(text: str) -> str:
    """A text as a code block, whatever it holds."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text.encode('utf-8', 'replace').decode('utf-8')}\n{fence}"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table; cells are taken as plain text, the first column to the left, the others to the right."""
    head = list(head)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *([plain(c) for c in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shares(counts: Mapping[str, int], title: str, limit: int = 30) -> str:
    """A table of counts with their shares, largest first."""
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda x: (-x[1], x[0]))
    rows = [(name, f"{n:,}", f"{n / total:.1%}") for name, n in ordered[:limit]]
    if len(ordered) > limit:
        rest = Counter(dict(ordered[limit:])).total()
        rows.append((f"({len(ordered) - limit} more)", f"{rest:,}", f"{rest / total:.1%}"))
    return table((title, "rows", "share"), rows)
