"""The folder of a run: one run at a time."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from nemo_desta.errors import SelfGenError, TrainingError
from nemo_desta.files import lock_directory

__all__ = ["hold", "run_folder"]

_WAIT = 10.0
"""Seconds; loader processes of a run that was killed keep its lock for a moment."""


def run_folder(exp_manager: Mapping[str, Any]) -> Path | None:
    """Where NeMo's experiment manager will put this run, if others may be put there, too; None if it gets a new folder."""
    if exp_manager.get("explicit_log_dir"):
        return Path(exp_manager["explicit_log_dir"])
    if not exp_manager.get("resume_if_exists"):
        return None
    folder = Path(exp_manager.get("exp_dir") or "nemo_experiments") / (exp_manager.get("name") or "default")
    return folder / str(exp_manager["version"]) if exp_manager.get("version") else folder


@contextmanager
def hold(folder: Path | None) -> Iterator[None]:
    """Keep other runs out of a folder; None holds nothing.

    Raises:
        TrainingError: another run has it.
    """
    with ExitStack() as stack:
        if folder is not None:
            _lock(stack, folder)
        yield


def _lock(stack: ExitStack, folder: Path) -> None:
    until = time.monotonic() + _WAIT
    while True:
        try:
            stack.enter_context(lock_directory(folder))
            return
        except SelfGenError as err:
            if time.monotonic() > until:
                raise TrainingError(
                    f"{err} Two runs must not share a folder: set another exp_manager.name, or end the other run first."
                ) from err
            time.sleep(0.5)
