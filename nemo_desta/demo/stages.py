"""The stages of the demo, each a function `(config, output_dir) -> result` that runs in a process of its own.

A result is JSON; `files` in it are paths relative to the output folder.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from nemo_desta.errors import DeSTAError
from nemo_desta.quiet import quiet_known_noise

__all__ = ["main"]

_WHERE = {
    "models": "nemo_desta.demo.making", "corpus": "nemo_desta.demo.making", "selfgen": "nemo_desta.demo.making",
    "training": "nemo_desta.demo.making", "evaluation": "nemo_desta.demo.judging", "answers": "nemo_desta.demo.judging",
    "benchmark": "nemo_desta.demo.benchmark",
}  # fmt: skip
_WITH_BARS = ("corpus", "selfgen")
"""Stages whose progress bars the user sees; of the others, their log lines."""


def main(job_file: str, answer_file: str) -> int:
    """Run the stage of a job file and write its result, or its error, to the answer file; 0 when all went well."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    quiet_known_noise()
    console, log = _redirect(Path(job["log"]), job["name"] in _WITH_BARS)
    handler = logging.StreamHandler(console)
    handler.setFormatter(logging.Formatter("      %(message)s"))
    own = logging.getLogger("nemo_desta" if job["name"] == "training" else "nemo_desta.demo")
    own.addHandler(handler)
    own.setLevel(logging.INFO)
    try:
        answer = {"result": _function(job["name"])(job["config"], Path(job["output_dir"]))}
    except DeSTAError as error:
        traceback.print_exc(file=log)
        answer = {"error": str(error)}
    except Exception as error:  # the parent has to learn of it, whatever it is; the traceback is in the log
        traceback.print_exc(file=log)
        answer = {"error": f"{type(error).__name__}: {error}"}
    Path(answer_file).write_text(json.dumps(answer, ensure_ascii=False), encoding="utf-8")
    return int("error" in answer)


def _redirect(path: Path, bars: bool) -> tuple[TextIO, TextIO]:
    """Send all output to the log; returns the console, for what the user should see, and the log."""
    console = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace", buffering=1)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    log = sys.stderr
    if bars:
        sys.stderr = console
    return console, log


def _function(name: str) -> Callable[[Mapping[str, Any], Path], dict[str, Any]]:
    return getattr(import_module(_WHERE[name]), name)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
