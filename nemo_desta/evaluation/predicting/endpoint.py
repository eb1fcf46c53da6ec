"""Answers of a model that takes audio behind an OpenAI-compatible API."""

import asyncio
import base64
import io
import os
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import soundfile
from openai import APIError, APIStatusError, AsyncOpenAI, AuthenticationError, NotFoundError, PermissionDeniedError

from nemo_desta.audio import SAMPLING_RATE, load_audio
from nemo_desta.errors import DeSTAError, EvaluationError
from nemo_desta.evaluation.predicting.answering import Asked, Said
from nemo_desta.evaluation.predicting.config import EndpointConfig
from nemo_desta.record import AUDIO_LOCATOR, Message

__all__ = ["Endpoint"]


class Endpoint:
    """Chat completions with `input_audio` parts (16 kHz wav), at most `concurrency` under way, temperature 0."""

    def __init__(self, config: EndpointConfig) -> None:
        self.config, self.calls = config, 0
        self._runner = asyncio.Runner()
        self._client = AsyncOpenAI(
            base_url=config.base_url, api_key=os.environ.get(config.api_key_env) or "none",
            max_retries=config.max_retries, timeout=config.timeout,
        )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Model and address; nothing of the key."""
        parts = urlsplit(self.config.base_url)
        place = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        return {"model": self.config.model, "base_url": place}

    def answer(self, asked: Sequence[Asked], max_new_tokens: int) -> list[Said]:
        """See `Answerer.answer`.

        Raises:
            EvaluationError: the budget is spent, or the endpoint refuses the key or knows no such model.
        """
        limit = self.config.max_calls
        if limit is not None and self.calls + len(asked) > limit:
            raise EvaluationError(
                f"{self.calls} requests are made, endpoint.max_calls={limit}; answers so far are kept: raise it, or start again "
                "to spend as much once more."
            )
        self.calls += len(asked)
        return self._runner.run(self._all(asked, max_new_tokens))

    async def _all(self, asked: Sequence[Asked], max_new_tokens: int) -> list[Said]:
        gate = asyncio.Semaphore(self.config.concurrency)

        async def one(question: Asked) -> Said:
            async with gate:
                return await self._one(question, max_new_tokens)

        return list(await asyncio.gather(*map(one, asked)))

    async def _one(self, asked: Asked, max_new_tokens: int) -> Said:
        try:
            messages = list(_messages(asked))
            reply = await self._client.chat.completions.create(
                model=self.config.model, messages=messages, temperature=0.0, max_tokens=max_new_tokens
            )
            return Said(reply.choices[0].message.content or "")
        except (AuthenticationError, PermissionDeniedError, NotFoundError) as err:
            raise EvaluationError(
                f"the endpoint answered {err.status_code}; check endpoint.base_url, endpoint.model ({self.config.model}) and the key "
                f"in ${self.config.api_key_env}. Answers so far are kept."
            ) from err
        except APIStatusError as err:
            return Said(None, f"the endpoint answered {err.status_code}: {err.response.text[:200]}")
        except (
            APIError,
            ValueError,
            AttributeError,
            IndexError,
            TypeError,
        ) as err:  # no connection, time-out, a body without an answer
            return Said(None, f"the endpoint gave no answer ({type(err).__name__}): {str(err)[:200]}")
        except DeSTAError as err:
            return Said(None, str(err))


def _messages(asked: Asked) -> Iterator[dict[str, Any]]:
    files = iter(asked.files)
    for message in asked.messages:
        content = list(_parts(message, files)) if message.audios else message.content
        yield {"role": message.role, "content": content}


def _parts(message: Message, files: Iterator[str]) -> Iterator[dict[str, Any]]:
    texts = message.content.split(AUDIO_LOCATOR)
    for number, text in enumerate(texts):
        if number:
            yield {"type": "input_audio", "input_audio": {"data": _wav(next(files)), "format": "wav"}}
        if text.strip():
            yield {"type": "text", "text": text.strip()}


def _wav(file: str) -> str:
    buffer = io.BytesIO()
    soundfile.write(buffer, load_audio(file), SAMPLING_RATE, subtype="PCM_16", format="WAV")
    return base64.b64encode(buffer.getvalue()).decode()
