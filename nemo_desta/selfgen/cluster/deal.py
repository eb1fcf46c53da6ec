"""Shards dealt out over a connected cluster by Ray Data."""

import logging
import os
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tqdm import tqdm

from nemo_desta import errors
from nemo_desta.errors import SelfGenError
from nemo_desta.selfgen.backends import Backend
from nemo_desta.selfgen.backends.options import BackendOptions
from nemo_desta.selfgen.cluster.connection import describe_free, describe_wanted
from nemo_desta.selfgen.cluster.options import RayOptions
from nemo_desta.selfgen.cluster.worker import ShardWorker, Task, Tracker
from nemo_desta.selfgen.config import SelfGenConfig

__all__ = ["Deal"]

_log = logging.getLogger(__name__)
_POLL = 0.5  # seconds
_STOP_SECONDS = 10.0
_END = None


class Deal:
    """One dealing out of shards.

    Args:
        ray: the module, connected.
        options: which pool.
        config: of the whole run.
        backend: what each worker builds its engine from.
        number: of shards.
    """

    def __init__(
        self, ray: Any, options: RayOptions, config: SelfGenConfig, backend: BackendOptions | Backend, number: int
    ) -> None:
        self.ray, self.options, self.number, self.progress = ray, options, number, config.progress
        self.task = Task(config, backend, number, options.max_deaths, os.getcwd())
        self.tracker = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Tracker).remote()
        self.last_sign = time.monotonic()

    def run(self, todo: Sequence[int], before: int, total: int) -> list[dict[str, Any]]:
        """Work on some shards.

        Args:
            todo: their numbers.
            before: rows of the other shards, which are finished.
            total: rows of all shards.

        Returns:
            What each worker said of its shard.

        Raises:
            DeSTAError: what the first worker that met one said.
            SelfGenError: nothing is heard of the workers, or Ray gives up.
        """
        arrived: queue.Queue[Any] = queue.Queue()  # Ray Data is waited for in a thread: this one stays awake
        pump = threading.Thread(target=_pump, args=(self._dataset(todo), arrived), daemon=True)
        pump.start()
        try:
            results = self._collect(arrived, before, total)
        finally:
            _stop_ray_data()
            pump.join(_STOP_SECONDS)
        if len(results) != len(todo):
            raise SelfGenError(f"Ray brought back {len(results)} of {len(todo)} shards; start again.")
        return results

    def _collect(self, arrived: queue.Queue[Any], before: int, total: int) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        with tqdm(total=total, initial=before, unit="row", desc="self-generation", disable=not self.progress) as bar:
            while True:
                with suppress(queue.Empty):
                    item = arrived.get(timeout=_POLL)
                    if item is _END:
                        break
                    results.append(self._read(item))
                self._look(bar, before)
            bar.update(total - bar.n)
        return results

    def _dataset(self, todo: Sequence[int]) -> Any:
        """Shard numbers, one a block, mapped by the pool. They lie in memory: no task of Ray's own wants a CPU."""
        from ray.data import ActorPoolStrategy, DataContext

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_no_progress_timeout_s = -1  # a shard may well take longer than Ray's half hour
        return self.ray.data.from_items(
            list(todo), override_num_blocks=len(todo)
        ).map(
            ShardWorker,  # restarted as often as it dies, which is Ray Data's default; the tracker knows when it is enough
            fn_constructor_kwargs={"task": self.task, "tracker": self.tracker},
            compute=ActorPoolStrategy(size=min(self.options.workers, len(todo)), max_tasks_in_flight_per_actor=1),
            num_cpus=self.options.num_cpus,
            num_gpus=self.options.num_gpus,
        )

    def _read(self, item: Any) -> dict[str, Any]:
        if isinstance(item, Exception):
            cause = " ".join(str(item).split())[-500:]
            raise SelfGenError(
                f"Ray gave up ({type(item).__name__}: {cause}). Finished rows are kept: start again."
            ) from item
        if item["error"]:
            kind = getattr(errors, item["kind"], SelfGenError)
            raise kind(f"shard {item['shard']}/{self.number}: {item['error']}")
        return item

    def _look(self, bar: tqdm, before: int) -> None:
        """Move the bar, pass on warnings, and see that somebody works."""
        with suppress(self.ray.exceptions.RayError):  # it is being restarted
            rows, silent, notes = self.ray.get(self.tracker.state.remote(), timeout=10)
            self.last_sign = time.monotonic() - silent
            bar.update(max(0, before + rows - bar.n))
            for note in notes:
                _log.warning("%s", note)
        if time.monotonic() - self.last_sign > self.options.patience:
            raise SelfGenError(
                f"nothing was heard of any worker for ray.patience={self.options.patience:g} s; each wants "
                f"{describe_wanted(self.options)}, free in the cluster are {describe_free(self.ray)}. Lower ray.num_cpus or "
                "ray.num_gpus, or start again when there is room; finished rows are kept."
            )


def _stop_ray_data() -> None:
    """End what Ray Data still executes: its thread would meet a Ray that is gone, and take this process with it."""
    for thread in threading.enumerate():
        if type(thread).__name__ == "StreamingExecutor":
            thread.shutdown(force=False)


def _pump(dataset: Any, arrived: queue.Queue) -> None:
    try:
        for row in dataset.iter_rows():
            arrived.put(row)
        arrived.put(_END)
    except Exception as err:  # of any kind: the main thread reports it
        arrived.put(err)
