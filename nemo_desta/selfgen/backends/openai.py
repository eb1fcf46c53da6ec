"""Responses from an OpenAI-compatible endpoint: many requests at once, retried, within a budget."""

import asyncio
import os
import re
from collections.abc import Sequence

from openai import APIError, APIStatusError, AsyncOpenAI, AuthenticationError, NotFoundError, PermissionDeniedError

from nemo_desta.errors import RenderError, SelfGenError
from nemo_desta.record import AUDIO_LOCATOR
from nemo_desta.selfgen.backends import Generation, Request, Sampling
from nemo_desta.selfgen.backends.options import OpenAIOptions

__all__ = ["OpenAIBackend"]

_CONTROL = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?s>|<(?:start|end)_of_turn>|\[/?INST\]")
_SEED_BITS = 2**31 - 1


class OpenAIBackend:
    """Chat completions, asynchronous, at most `concurrency` under way.

    The endpoint applies the chat template, so it must serve the backbone with its own. What would turn into a control
    token there cannot be sent as text; such rows fail, they are not sent.

    Args:
        options: with `model` set.
    """

    revision = None

    def __init__(self, options: OpenAIOptions) -> None:
        self.options = options
        self.id = options.model
        self.spent = 0
        self._runner = asyncio.Runner()
        self._client = AsyncOpenAI(
            base_url=options.base_url,
            api_key=os.environ.get(options.api_key_env) or "none",
            max_retries=options.max_retries,
            timeout=options.timeout,
        )

    def prompt_length(self, request: Request) -> int:
        """In characters."""
        return sum(len(m["content"]) for m in self.messages(request))

    def messages(self, request: Request) -> list[dict[str, str]]:
        """What is sent: each clip's place holds its seed description.

        Raises:
            RenderError: a text holds what the endpoint would read as a control token.
        """
        texts = iter(request.substitutes)
        out = []
        for message in request.messages:
            parts = message.content.split(AUDIO_LOCATOR) if message.audios else [message.content]
            content = "".join(p if i == 0 else next(texts) + p for i, p in enumerate(parts))
            found = _CONTROL.search(content)
            if found:
                raise RenderError(
                    f"row {request.id}: {found.group()!r} would be a control token at the endpoint; "
                    "take it out of the metadata, or use backend=hf, where it stays text."
                )
            out.append({"role": message.role, "content": content})
        return out

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """See `Backend.generate`.

        Raises:
            SelfGenError: the budget is spent, or the endpoint refuses the key or knows no such model.
        """
        limit = self.options.max_total_tokens
        if limit is not None and self.spent >= limit:
            raise SelfGenError(
                f"{self.spent} tokens are used, backend.max_total_tokens={limit}; finished rows are kept: "
                "raise it, or start again to spend as much once more."
            )
        return self._runner.run(self._all(requests, sampling))

    async def _all(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        gate = asyncio.Semaphore(self.options.concurrency)

        async def one(request: Request) -> Generation:
            async with gate:
                return await self._one(request, sampling)

        return list(await asyncio.gather(*map(one, requests)))

    async def _one(self, request: Request, sampling: Sampling) -> Generation:
        try:
            reply = await self._client.chat.completions.create(
                model=self.options.model,
                messages=self.messages(request),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_new_tokens,
                seed=request.seed & _SEED_BITS,
            )
        except (AuthenticationError, PermissionDeniedError, NotFoundError) as err:
            raise SelfGenError(
                f"{self.options.base_url}: {err}; check backend.base_url, backend.model ({self.options.model}) and the key "
                f"in ${self.options.api_key_env}. Finished rows are kept."
            ) from err
        except APIStatusError as err:
            return Generation(error=f"endpoint answered {err.status_code}: {_short(err.response.text)}")
        except (APIError, ValueError) as err:  # no connection, time-out, or a body that is no JSON
            return Generation(error=f"endpoint {self.options.base_url}: {_short(err)}")
        return self._read(reply)

    def _read(self, reply) -> Generation:
        choice = reply.choices[0] if getattr(reply, "choices", None) else None
        text = choice.message.content if choice is not None and choice.message is not None else None
        if not isinstance(text, str):
            return Generation(error=f"the endpoint's reply holds no answer: {_short(reply)}")
        usage = getattr(reply, "usage", None)
        self.spent += (usage.total_tokens or 0) if usage else 0
        tokens = (usage.completion_tokens or 0) if usage else 0
        return Generation(text.strip(), choice.finish_reason or "stop", tokens)


def _short(value: object) -> str:
    text = " ".join(str(value).split()) or type(value).__name__
    return text if len(text) <= 200 else text[:197] + "..."
