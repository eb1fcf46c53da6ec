"""Open questions, judged on a scale of 1 to 5 (src/evaluator/open.py)."""

import math
import re

__all__ = ["LOWEST", "rating"]

LOWEST = 1.0

_IN_BRACKETS = re.compile(r"\[\[(\d+)\]\]")


def rating(text: str) -> float | None:
    """The number that a judge's reply is, or the first [[number]] in it; None where the official code stops with an error.

    "4" and " 4.5\n" are numbers, "4/5" and "Score: 4" are none. "nan" and "inf" are numbers to the official code and spoil its
    mean; here they are none. A number beyond the scale counts as it is, as officially.
    """
    try:
        value = float(text)
    except ValueError:
        found = _IN_BRACKETS.search(text)
        return float(found.group(1)) if found else None
    return value if math.isfinite(value) else None
