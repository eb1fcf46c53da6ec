"""Asking a judge: what is asked, what comes back. Who answers is in `engines`, what is kept in `cache`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Judge", "JudgePrompt", "Reply"]


@dataclass(frozen=True)
class JudgePrompt:
    """One question to a judge, with the sampling that the benchmark publishes.

    Attributes:
        messages: (role, text) pairs, roles system and user.
        temperature, top_p, max_tokens: None: not sent, the judge's own default.
        n: how many replies are drawn.
    """

    messages: tuple[tuple[str, str], ...]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    n: int = 1


@dataclass(frozen=True)
class Reply:
    """What a judge said.

    Attributes:
        texts: raw replies, `n` of them; empty when there is none.
        error: why there is none.
    """

    texts: tuple[str, ...] = ()
    error: str | None = None


class Judge(Protocol):
    """Whoever gives verdicts.

    Attributes:
        model: name of the model that answers.
    """

    model: str

    def ask(self, prompts: Sequence[JudgePrompt]) -> list[Reply]:
        """One reply a prompt, in order; the same prompt is answered once and given to all that ask it."""

    def describe(self) -> dict[str, Any]:
        """For scores.json: the model, how it was asked, how many replies came from the cache. No key, no address with a key."""
