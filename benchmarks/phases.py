"""Which part of a training step takes how long: parts inside other parts are not counted twice."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch

__all__ = ["PHASES", "Phases"]

PHASES = ("data", "mel", "encoder", "qformer", "llm_forward", "llm_backward", "qformer_backward", "optimizer", "other")


class Phases:
    """Seconds of each part.

    Args:
        on: without, everything runs untimed.
        device: on a GPU the parts wait for it to finish, so that their times are true and their sum a little too long.
    """

    def __init__(self, device: torch.device, on: bool = True) -> None:
        self.on, self.device = on, device
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _count(self) -> None:
        now = self._now()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        if not self.on:
            yield
            return
        self._count()
        self._open.append(name)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def switch(self, name: str) -> None:
        """What follows belongs to another part than what came before, within the innermost `with`."""
        if self.on and self._open:
            self._count()
            self._open[-1] = name

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Count each call of `owner.attribute`, which may be a module's forward, as part `name`."""
        plain: Callable = getattr(owner, attribute)

        @wraps(plain)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self(name):
                return plain(*args, **kwargs)

        setattr(owner, attribute, timed)

    def watch_gradient(self, features: torch.Tensor) -> torch.Tensor:
        """When the gradient of the connector's output arrives, the backward pass has left the LLM."""
        if self.on and features.requires_grad:
            features.register_hook(lambda gradient: self.switch("qformer_backward"))
        return features
