"""Requests to token ids, and a response's ids to text: shared by the engines that run the LLM themselves."""

from collections.abc import Sequence

from nemo_desta.errors import RenderError
from nemo_desta.rendering import Renderer
from nemo_desta.selfgen.backends import Request

__all__ = ["RequestEncoder"]


class RequestEncoder:
    """What the LLM sees: the conversation that will be trained on, seed descriptions in place of the audio.

    Args:
        tokenizer: the LLM's, with a chat template.
        max_prompt_tokens: longer prompts are refused, never cut.

    Raises:
        RenderError: the tokenizer has no chat template.
    """

    def __init__(self, tokenizer, max_prompt_tokens: int) -> None:
        self.renderer = Renderer(tokenizer, num_queries=1)
        self.tokenizer = self.renderer.tokenizer
        self.max_prompt_tokens = max_prompt_tokens

    def encode(self, request: Request) -> list[int]:
        """Ids of a prompt; control tokens in its data stay text.

        Raises:
            RenderError: it cannot be rendered, or is longer than `max_prompt_tokens`.
        """
        ids = self.renderer.render(
            request.messages, substitutes=request.substitutes, where=f"row {request.id}"
        ).input_ids
        if len(ids) > self.max_prompt_tokens:
            raise RenderError(
                f"row {request.id}: prompt of {len(ids)} tokens, {self.max_prompt_tokens} are allowed; shorten the seed description or raise max_prompt_tokens."
            )
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of a response, without control tokens and space around it."""
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()
