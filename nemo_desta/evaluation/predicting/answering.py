"""What is asked of a predictor and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nemo_desta.evaluation.items import Item
from nemo_desta.record import Message

__all__ = ["Answerer", "Asked", "Said"]


@dataclass(frozen=True)
class Asked:
    """One question, ready to send.

    Attributes:
        messages: as predictions.jsonl shows them: audio paths relative to the data's root, or to the work folder for
            pieces of long clips.
        files: the files of the messages' clips, in order.
    """

    item: Item
    messages: tuple[Message, ...]
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Said:
    """An answer, or why there is none."""

    text: str | None
    error: str = ""


class Answerer(Protocol):
    """Who answers."""

    def describe(self) -> dict[str, Any]:
        """What the answers depend on, for manifests."""

    def answer(self, asked: Sequence[Asked], max_new_tokens: int) -> list[Said]:
        """One answer a question, in order."""
