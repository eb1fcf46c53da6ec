"""A backend that answers at once."""

import time

from nemo_desta.selfgen.backends import Generation
from nemo_desta.selfgen.prompts import stable_hash


class FakeBackend:
    """Answers with a number that depends on the request alone; some answers betray the text, some are cut."""

    id = "fake"
    revision = "1"

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.requests = []

    def prompt_length(self, request) -> int:
        return len(request.substitutes[0])

    def generate(self, requests, sampling):
        time.sleep(self.delay)
        self.requests += requests
        return [self._answer(r) for r in requests]

    @staticmethod
    def _answer(request) -> Generation:
        number = stable_hash(request.messages, request.substitutes, request.seed)
        if number % 7 == 0:
            return Generation("The metadata says so.", "stop", 4)
        return Generation(f"I hear {number}.", "length" if number % 5 == 0 else "stop", 3)
