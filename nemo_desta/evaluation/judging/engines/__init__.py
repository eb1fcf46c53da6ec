"""Who answers a judge's prompts. An engine knows no files: what is kept, and what is asked at all, is `cache`'s part."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from nemo_desta.evaluation.judging import JudgePrompt
from nemo_desta.evaluation.judging.recorded import Raw

__all__ = ["Engine", "Keep"]

Keep = Callable[[int, Raw], None]
"""Takes the number of a prompt and what came back for it."""


class Engine(Protocol):
    """A judge without a memory.

    Attributes:
        model: name of the model that answers.
    """

    model: str

    def settings(self, prompt: JudgePrompt) -> dict[str, Any]:
        """What the reply depends on beside model and prompt; {} for an endpoint."""

    def answer(self, prompts: Sequence[JudgePrompt], keep: Keep) -> None:
        """Call `keep` once for each prompt, in any order, as soon as its replies are there.

        Raises:
            EvaluationError: it cannot go on. What was given to `keep` before stands; what it says of what to do is
                completed by the caller, which knows how many replies are kept.
        """

    def describe(self) -> dict[str, Any]:
        """How it asks. No key, no address with a key."""
