"""Running stages: each in a process of its own, once, with its time and its memory.

A stage that finished leaves a stamp with its key, a hash of its configuration, of the files it reads, and of the keys
of the stages before it. The same key means that there is nothing to do. Another key removes what the stage had made
and runs it, and with it all that build on it. A stage that was stopped goes on where it stopped, if it can.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nemo_desta import __version__
from nemo_desta.errors import DeSTAError

__all__ = ["Finished", "Runner", "Stage", "run_in_process"]

_REVISION = 1
"""Raised when a stage's code makes something else of the same configuration."""


@dataclass(frozen=True)
class Stage:
    """One step of the demo.

    Attributes:
        name: of its folder and its function in `nemo_desta.demo.stages`.
        title: for the reader.
        config: all its result depends on, besides `reads` and `needs`; JSON.
        needs: names of stages whose results it uses.
        reads: files it reads from outside the output folder.
    """

    name: str
    title: str
    config: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    reads: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Finished:
    """What a finished stage left.

    Attributes:
        seconds: wall time of the run that finished it.
        peak_memory: largest resident set of its process, bytes.
        result: what its function returned.
        reused: whether nothing had to be done this time.
    """

    seconds: float
    peak_memory: int
    result: dict[str, Any] = field(default_factory=dict)
    reused: bool = False


Execute = Callable[[str, Mapping[str, Any], Path, Path], tuple[dict[str, Any], int]]
"""(stage, configuration, output folder, log file) -> (result, peak memory in bytes)."""


class Runner:
    """Runs stages into one output folder.

    Args:
        output_dir: each stage has a sub-folder of its name.
        execute: how a stage is run; tests give their own.
        say: where lines for the user go.
    """

    def __init__(
        self, output_dir: Path, execute: Execute | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        self.output_dir = output_dir
        self.execute = execute or run_in_process
        self.say = say or (lambda line: print(line, flush=True))
        self.keys: dict[str, str] = {}
        self.finished: dict[str, Finished] = {}

    def run(self, stages: Sequence[Stage]) -> dict[str, Finished]:
        """Run what has to be run, in order.

        Raises:
            DeSTAError: a stage failed, or a folder of its name holds something that is not the demo's.
        """
        for number, stage in enumerate(stages, 1):
            self.keys[stage.name] = self._key(stage)
            self.say(f"[{number}/{len(stages)}] {stage.title}")
            self.finished[stage.name] = self._reused(stage) or self._run(stage)
            self._tell(stage, self.finished[stage.name])
        return self.finished

    def _key(self, stage: Stage) -> str:
        read = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in stage.reads}
        parts = [stage.name, stage.config, read, [self.keys[n] for n in stage.needs], __version__, _REVISION]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _stamp(self, stage: Stage) -> Path:
        return self.output_dir / ".stamps" / f"{stage.name}.json"

    def _reused(self, stage: Stage) -> Finished | None:
        stamp = _read_json(self._stamp(stage))
        if stamp.get("key") != self.keys[stage.name] or "result" not in stamp:
            return None
        if not all((self.output_dir / f).exists() for f in stamp["result"].get("files", {}).values()):
            return None
        return Finished(stamp["seconds"], stamp["peak_memory"], stamp["result"], reused=True)

    def _run(self, stage: Stage) -> Finished:
        self._claim(stage)
        log = self.output_dir / "logs" / f"{stage.name}.log"
        log.parent.mkdir(exist_ok=True)
        started = time.monotonic()
        result, peak = self.execute(stage.name, stage.config, self.output_dir, log)
        finished = Finished(round(time.monotonic() - started, 1), peak, result)
        stamp = {"key": self.keys[stage.name], "seconds": finished.seconds, "peak_memory": peak, "result": result}
        _write_json(self._stamp(stage), stamp)
        return finished

    def _claim(self, stage: Stage) -> None:
        """Make the stage's folder ready: kept when it was begun with this key, emptied when with another."""
        folder, begun = self.output_dir / stage.name, self._stamp(stage).with_suffix(".begun")
        before = _read_json(begun).get("key")
        if before is None and folder.exists() and any(folder.iterdir()):
            raise DeSTAError(
                f"{folder} is there already and is not the demo's; move it away, or give another --output-dir."
            )
        if before is not None and before != self.keys[stage.name] and folder.exists():
            shutil.rmtree(folder)
        self._stamp(stage).unlink(missing_ok=True)
        _write_json(begun, {"key": self.keys[stage.name]})

    def _tell(self, stage: Stage, finished: Finished) -> None:
        what = "reused, made in" if finished.reused else "done in"
        self.say(f"      {what} {finished.seconds:.0f} s, peak memory {finished.peak_memory / 1e9:.1f} GB")
        for label, file in finished.result.get("files", {}).items():
            self.say(f"      {label}: {self.output_dir / file}")


def run_in_process(name: str, config: Mapping[str, Any], output_dir: Path, log: Path) -> tuple[dict[str, Any], int]:
    """Run `nemo_desta.demo.stages` for one stage in a process of its own; its chatter goes to the log.

    Raises:
        DeSTAError: it failed; the log is named.
    """
    job = output_dir / ".stamps" / f"{name}.job.json"
    _write_json(job, {"name": name, "config": config, "output_dir": str(output_dir), "log": str(log)})
    answer = job.with_name(f"{name}.answer.json")
    answer.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, "-m", "nemo_desta.demo.stages", str(job), str(answer)])
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    reply = _read_json(answer)
    if process.returncode or "result" not in reply:
        reason = reply.get("error") or _ended(process.returncode)
        raise DeSTAError(
            f"the demo's stage {name!r} failed: {reason}\nWhat it wrote is in {log}; start the demo again to go on."
        )
    return reply["result"], usage.ru_maxrss * 1024


def _ended(code: int) -> str:
    if code == -signal.SIGKILL:
        return "it was killed, most likely for want of memory (6 GB are needed)."
    return f"it ended with exit code {code}."


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
    os.replace(part, path)
