"""What writes the responses. A backend answers requests in batches; it knows no files, no filters, no Lhotse."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nemo_desta.record import Message

__all__ = ["Backend", "Generation", "Request", "Sampling"]


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn; the paper's values are temperature 0.05 and top_p 1.0. Temperature 0 is greedy."""

    temperature: float = 0.05
    top_p: float = 1.0
    max_new_tokens: int = 256


@dataclass(frozen=True, slots=True)
class Request:
    """One response to write.

    Attributes:
        id: for error messages.
        messages: as they will be trained on, with clips.
        substitutes: for each clip, in order, the text that stands in its place now.
        seed: of this row's sampling; the response depends on no other row.
    """

    id: str
    messages: tuple[Message, ...]
    substitutes: tuple[str, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Generation:
    """A response, why it ended ("stop", or "length" when cut at max_new_tokens), and its tokens; or an error."""

    text: str = ""
    finish_reason: str = "stop"
    num_tokens: int = 0
    error: str | None = None


class Backend(Protocol):
    """What the engine needs of an LLM.

    Attributes:
        id: names the backbone in provenance.
        revision: of its weights, or None.
    """

    id: str
    revision: str | None

    def prompt_length(self, request: Request) -> int:
        """A measure of prompt length, for batching like with like; characters will do.

        Raises:
            RenderError: the request cannot be rendered; the row is counted as failed.
        """
        ...

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """One Generation a request, in order. An error of a single row goes into its Generation."""
        ...
