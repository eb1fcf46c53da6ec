"""How long to wait before the next try."""

import email.utils
import math
import random
import time
from collections.abc import Mapping

__all__ = ["LONGEST_WAIT", "pause_after", "wanted_pause"]

LONGEST_WAIT = 300.0
"""Seconds. An endpoint that asks for more ends the run, with its wish told, rather than let it stand still."""
_FIRST, _MOST = 0.5, 30.0


def pause_after(tried: int) -> float:
    """Seconds after so many tries: doubled each time from half a second to half a minute, up to a quarter taken off."""
    return min(_FIRST * 2.0 ** (min(tried, 30) - 1), _MOST) * random.uniform(0.75, 1.0)


def wanted_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks for (`retry-after-ms`, `retry-after` in seconds or as a date); None: it does not."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wanted = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        if math.isfinite(wanted) and wanted > 0:
            return wanted
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    try:
        left = email.utils.mktime_tz(date) - time.time() if date else 0.0
    except (ValueError, OverflowError):
        return None
    return left if left > 0 else None
