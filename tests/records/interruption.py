"""Stopping a piece of work where it makes something durable."""

import os
from functools import partial
from pathlib import Path

__all__ = ["STOPS", "Stop", "contents", "stop_in"]

STOPS = [*range(1, 12), *range(12, 300, 7)]
"""In which calls to stop: in all of the first, then in every seventh."""


class Stop(BaseException):
    """The process ends here."""


def stop_in(patch, calls: int) -> None:
    """Let the process stop in the n-th call that makes something durable."""
    left = [calls]

    def stopping(real, *args):
        left[0] -= 1
        if left[0] == 0:
            raise Stop
        return real(*args)

    for name in ("fsync", "replace"):
        patch.setattr(os, name, partial(stopping, getattr(os, name)))


def contents(folder: Path) -> dict[str, bytes]:
    """All files by name, without those that hold times."""
    names = [
        p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in {".lock", "pack.json", "import.json"}
    ]
    return {str(p.relative_to(folder)): p.read_bytes() for p in names}
