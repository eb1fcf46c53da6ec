"""Memory that a piece of work takes, whatever else the tests' process holds."""

import gc
import tracemalloc
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any


def peak_memory(work: Callable[[], Any]) -> int:
    """Bytes of Python objects at most alive while `work` runs in a process that does nothing else."""
    context = get_context("fork")
    answer = context.SimpleQueue()

    def measured() -> None:
        gc.freeze()  # what the tests' process holds would put off the collection of cycles
        tracemalloc.start()
        work()
        answer.put(tracemalloc.get_traced_memory()[1])

    child = context.Process(target=measured)
    child.start()
    child.join()
    assert child.exitcode == 0
    return answer.get()
