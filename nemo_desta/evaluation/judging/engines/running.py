"""Workers that send one run's requests: what is left to do, when to rest, why it is over."""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from nemo_desta.evaluation.judging import JudgePrompt
from nemo_desta.evaluation.judging.engines import Keep

__all__ = ["Run", "StoppedError", "run_anywhere"]


class StoppedError(Exception):
    """The run is over; nothing more is to be sent."""


@dataclass
class Run:
    """What the workers of one call of `answer` share.

    Attributes:
        prompts: all of them.
        keep: takes what comes back.
        queue: numbers of the prompts that nobody has begun.
        error: why the run is over before its end.
        in_a_row: prompts in trouble since the last one that had a reply.
        resume_at: nobody sends before this time.
        stopped: set when the run is over.
    """

    prompts: Sequence[JudgePrompt]
    keep: Keep
    error: str | None = None
    in_a_row: int = 0
    resume_at: float = 0.0
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.queue: Iterator[int] = iter(range(len(self.prompts)))

    def stop(self, error: str) -> None:
        """Let nothing more be sent; the first reason is told."""
        self.error = self.error or error
        self.stopped.set()

    def rest(self, seconds: float) -> None:
        """Let nobody send before this time is over."""
        self.resume_at = max(self.resume_at, time.monotonic() + seconds)

    async def wait_for_turn(self) -> None:
        """Return when a request may be sent."""
        while (left := self.resume_at - time.monotonic()) > 0:
            await self.sleep(left)
        if self.stopped.is_set():
            raise StoppedError

    async def sleep(self, seconds: float) -> None:
        """A pause that ends early when the run is over."""
        try:
            await asyncio.wait_for(self.stopped.wait(), seconds)
        except TimeoutError:
            return
        raise StoppedError


def run_anywhere(work: Coroutine[Any, Any, None]) -> None:
    """Run it to its end, in a notebook too, whose own loop is running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()
