"""Backends for tests with Ray: they break down in the worker's process, and say by files in a folder who they were."""

import os
import signal
from pathlib import Path

from nemo_desta.errors import EngineDiedError
from nemo_desta.selfgen.backends import Generation
from tests.selfgen.fake import FakeBackend


class TracedBackend(FakeBackend):
    """Leaves a file named by each process that it worked in."""

    def __init__(self, folder: Path, delay: float = 0.0) -> None:
        super().__init__(delay)
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)

    def generate(self, requests, sampling):
        (self.folder / str(os.getpid())).touch()
        return super().generate(requests, sampling)

    def processes(self) -> list[int]:
        return [int(p.name) for p in self.folder.iterdir() if p.name.isdigit()]


class DyingBackend(TracedBackend):
    """Breaks down in three ways, each once: killed, with a dead engine, with an error nobody foresaw."""

    ways = ("killed", "dead", "unforeseen")

    def generate(self, requests, sampling):
        answers = super().generate(requests, sampling)
        way = next((w for w in self.ways if not (self.folder / w).exists()), None)
        if way is None or len(self.requests) < 10:  # some rows first
            return answers
        (self.folder / way).touch()
        if way == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise EngineDiedError("no memory") if way == "dead" else RuntimeError("no idea")


class PoisonedBackend(TracedBackend):
    """Breaks down whenever it meets one of the rows."""

    def generate(self, requests, sampling):
        if any(r.id == "cut20-0" for r in requests):
            raise RuntimeError("a row that\nkills")
        return super().generate(requests, sampling)


class FailingBackend(FakeBackend):
    """Has an error for every row."""

    def generate(self, requests, sampling):
        return [Generation(error="out of luck") for _ in requests]
