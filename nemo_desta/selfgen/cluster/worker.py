"""What runs on the cluster with `engine=ray`: the workers, and the one small actor that watches over them."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from nemo_desta.errors import DeSTAError, EngineDiedError, SelfGenError
from nemo_desta.files import lock_directory
from nemo_desta.selfgen.backends import Backend
from nemo_desta.selfgen.backends.engines import Engines
from nemo_desta.selfgen.backends.options import BackendOptions
from nemo_desta.selfgen.config import SelfGenConfig
from nemo_desta.selfgen.engine import Run
from nemo_desta.selfgen.plan import CutSource
from nemo_desta.selfgen.writer import parse_log

__all__ = ["Made", "ShardWorker", "Task", "Tracker", "shard_config"]

_LOCK_PATIENCE = 60.0  # seconds in which the worker of a driver that was killed is gone
_PULSE = 1.0  # seconds between two signs of life


@dataclass(frozen=True)
class Task:
    """What every worker is given.

    Attributes:
        config: of the whole run.
        backend: settings of the engine, or the engine.
        number: of shards.
        max_deaths: see `RayOptions`.
        folder: working directory of the driver, which relative paths start from.
    """

    config: SelfGenConfig
    backend: BackendOptions | Backend
    number: int
    max_deaths: int
    folder: str


class Made(NamedTuple):
    """Responses that are finished: how many, and how many tokens they have."""

    rows: int
    tokens: int


def shard_config(config: SelfGenConfig, shard: int, number: int) -> SelfGenConfig:
    """The configuration of one shard, as `shard=i/n` gives it."""
    return replace(config, engine="local", shard=f"{shard}/{number}", progress=False)


class Tracker:
    """Knows how far each shard is, and how often its worker died: for the bar and to give up, not for the books."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}
        self._first: dict[int, Made] = {}  # shard -> what was there when this run began it
        self._starts: dict[int, tuple[int, int]] = {}  # shard -> rows at its last start, deaths without a new one
        self._causes: dict[int, str] = {}
        self._notes: list[str] = []
        self._heard = time.monotonic()

    def begin(self, shard: int, made: Made) -> tuple[int, str, Made]:
        """A worker takes a shard.

        Args:
            shard: its number.
            made: what stands in its log.

        Returns:
            How often workers have died at it since a row was last finished, what is known of the last time, and what
            stood in the log when this run took it first.
        """
        self._heard = time.monotonic()
        first = self._first.setdefault(shard, made)
        before = self._starts.get(shard)
        deaths = 0 if before is None or made.rows > before[0] else before[1] + 1
        self._starts[shard] = (made.rows, deaths)
        cause = self._causes.get(shard, "its process was ended (killed, out of memory, or its node was lost)")
        return deaths, cause, first

    def report(self, shard: int, rows: int) -> None:
        """Rows of a shard that are done."""
        self._heard = time.monotonic()
        self._rows[shard] = rows

    def dying(self, shard: int, cause: str) -> None:
        """A worker is about to end itself."""
        self._causes[shard] = cause

    def note(self, text: str) -> None:
        """A warning for the user."""
        self._notes.append(text)

    def state(self) -> tuple[int, float, list[str]]:
        """Rows done, seconds since a worker was last heard of, and warnings not told yet."""
        notes, self._notes = self._notes, []
        return sum(self._rows.values()), time.monotonic() - self._heard, notes


class ShardWorker:
    """One process of the pool: loads the LLM once and works on one shard after the other.

    The user's mistakes travel as results, so that Ray neither repeats nor decorates them. Where the engine breaks down,
    the process ends itself: Ray starts another with a fresh engine, which goes on where the shard's log ends.

    Args:
        task: what is to be done.
        tracker: handle of the `Tracker`.
    """

    def __init__(self, task: Task, tracker: Any) -> None:
        self.task, self.tracker = task, tracker
        self._source: CutSource | None = None
        self._engines = Engines(task.config, task.backend)
        logging.getLogger("nemo_desta").addHandler(_Notes(tracker))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Work on the shard `row["item"]`; the result says what was made, or what is wrong."""
        shard, nothing = int(row["item"]), {"new_rows": 0, "new_tokens": 0}
        try:
            return {"shard": shard, "error": "", "kind": "", **self._work(shard)}
        except EngineDiedError as err:
            self._die(shard, str(err))
        except DeSTAError as err:
            return {"shard": shard, "error": str(err), "kind": type(err).__name__, **nothing}
        except Exception as err:
            self._die(shard, f"{type(err).__name__}: {err}")

    def _work(self, shard: int) -> dict[str, int]:
        import ray

        self._enter_folder()
        config = shard_config(self.task.config, shard, self.task.number)
        with _pulse(self.tracker, shard) as advance:
            _wait_for_lock(config)
            made = _made(Path(config.output_dir) / ".work" / f"{config.stem}.log")
            deaths, cause, first = ray.get(self.tracker.begin.remote(shard, made))
            if deaths >= self.task.max_deaths:
                raise SelfGenError(
                    f"{deaths} workers died at it without finishing a row in between, the last one so: {cause}. "
                    "Finished rows are kept: repair the cause and start again."
                )
            self._source = self._source or CutSource(config.cuts)
            run = Run(config, self._engines, self._source, advance)
            with lock_directory(Path(config.output_dir), config.suffix):
                summary = run.execute()
        return {  # with those of the workers that died at it
            "new_rows": summary.new_rows + made.rows - first.rows,
            "new_tokens": summary.new_tokens + made.tokens - first.tokens,
        }

    def _enter_folder(self) -> None:
        try:
            os.chdir(self.task.folder)
        except OSError as err:
            raise SelfGenError(
                f"node {os.uname().nodename} has no folder {self.task.folder}; engine=ray wants a file system that all nodes share."
            ) from err

    def _die(self, shard: int, cause: str) -> None:
        import ray

        ray.get(self.tracker.dying.remote(shard, " ".join(cause.split())[:500]))
        os._exit(1)


class _Notes(logging.Handler):
    """Sends warnings to the driver's console."""

    def __init__(self, tracker: Any) -> None:
        super().__init__(logging.WARNING)
        self.tracker = tracker

    def emit(self, record: logging.LogRecord) -> None:
        self.tracker.note.remote(record.getMessage())


@contextmanager
def _pulse(tracker: Any, shard: int) -> Iterator[Callable[[int], None]]:
    """Tell the tracker every second how many rows are done; gives the function that counts them."""
    rows, ended = [0], threading.Event()

    def advance(count: int) -> None:
        rows[0] += count

    def beat() -> None:
        while not ended.wait(_PULSE):
            tracker.report.remote(shard, rows[0])

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield advance
    finally:
        ended.set()
        thread.join()
        tracker.report.remote(shard, rows[0])


def _wait_for_lock(config: SelfGenConfig) -> None:
    """Give a worker whose driver was killed the time to end; who holds the lock longer is named by the run itself."""
    until = time.monotonic() + _LOCK_PATIENCE
    while time.monotonic() < until:
        try:
            with lock_directory(Path(config.output_dir), config.suffix):
                return
        except SelfGenError:
            time.sleep(0.5)


def _made(log: Path) -> Made:
    rows = tokens = 0
    if log.is_file():
        with log.open("rb") as lines:
            for _, _, row in parse_log(lines):
                if row is not None and row["status"] != "failed":
                    rows += 1
                    tokens += row["record"]["provenance"]["num_tokens"]
    return Made(rows, tokens)
