"""Python's garbage collector, called less often while rows are made."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["rare_collection"]

# A row makes tens of objects and leaves no cycles; the default looks after every 700 objects.
_THRESHOLDS = (20_000, 20, 20)


@contextmanager
def rare_collection() -> Iterator[None]:
    """What exists already (modules, prompts, the LLM) is not looked through at all, new objects less often."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
