"""The embedded backend: batched generation with Hugging Face transformers, on CPU or GPU."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

import torch
from transformers import GenerationConfig, LogitsProcessor

from nemo_desta import pypi_models
from nemo_desta.record import AUDIO_LOCATOR
from nemo_desta.selfgen.backends import Generation, Request, Sampling
from nemo_desta.selfgen.backends.attention import use_grouped_decoding
from nemo_desta.selfgen.backends.encoding import RequestEncoder
from nemo_desta.selfgen.backends.heads import HeadCache
from nemo_desta.selfgen.backends.rounds import generate_in_rounds
from nemo_desta.selfgen.llm import load_llm

__all__ = ["HFBackend", "RowSampler"]


class HFBackend:
    """Left-padded batches through `generate`; each row's sampling has its own random numbers.

    What prompts have in common is computed once (`heads`), and rows that have ended make no others wait (`rounds`).

    Args:
        llm: path, hub id, or `pypi:` name of an instruction-tuned causal LM.
        device: where it runs.
        dtype: of its weights, a torch name.
        max_prompt_tokens: longer prompts are refused (row failed), never cut; None: the model's own limit.

    Raises:
        ConfigError: an unknown dtype.
        RenderError: the tokenizer has no chat template.
    """

    def __init__(
        self, llm: str, device: str = "cpu", dtype: str = "float32", max_prompt_tokens: int | None = None
    ) -> None:
        self.id = llm
        self.device = device
        self.model, tokenizer = load_llm(llm, device, dtype)
        use_grouped_decoding(self.model)
        self.revision = pypi_models.wheel_of(llm) or getattr(self.model.config, "_commit_hash", None)
        limit = getattr(self.model.config, "max_position_embeddings", None)
        self.encoder = RequestEncoder(tokenizer, max_prompt_tokens or limit or 2**31)
        self.renderer, self.tokenizer = self.encoder.renderer, self.encoder.tokenizer
        self.stop_ids = _stop_ids(self.model, self.renderer.eos_id)
        self._heads = HeadCache(self.model, self.renderer.eos_id)
        self._known_heads: dict[tuple, tuple[int, ...]] = {}

    def prompt_ids(self, request: Request) -> list[int]:
        """See `RequestEncoder.encode`."""
        return self.encoder.encode(request)

    def prompt_length(self, request: Request) -> int:
        """In tokens."""
        return len(self.prompt_ids(request))

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """See `Backend.generate`."""
        rows = [self.prompt_ids(r) for r in requests]
        heads = [self._head(r, ids) for r, ids in zip(requests, rows, strict=True)]
        if not self._heads.usable or len(rows) == 1 or not all(heads):
            cache, parts = None, []
        else:
            cache, *head = self._heads.select(heads)
            rows, parts = [ids[len(h) :] for ids, h in zip(rows, heads, strict=True)], [head]
        parts.append(self._padded(rows))
        input_ids, mask = (torch.cat(p, dim=1) for p in zip(*parts, strict=True))  # (B, T), each part left-padded
        config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens, do_sample=False, eos_token_id=self.stop_ids,
            pad_token_id=self.renderer.eos_id, return_dict_in_generate=True,
        )  # fmt: skip

        def sampler(numbers: Sequence[int]) -> RowSampler:
            return RowSampler([requests[i].seed for i in numbers], sampling, input_ids.shape[1])

        new = generate_in_rounds(
            self.model,
            input_ids,
            mask,
            cache,
            config,
            sampler if sampling.temperature > 0 else None,
            self._heads.usable,
        )
        return [self._finish(ids) for ids in new]

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids (B, T), left-padded, and their mask."""
        width = max(map(len, rows))
        pad = self.renderer.eos_id
        ids = torch.tensor([[pad] * (width - len(r)) + list(r) for r in rows], device=self.device)
        lengths = torch.tensor([len(r) for r in rows], device=self.device)
        return ids, torch.arange(width, device=self.device)[None, :] >= (width - lengths)[:, None]

    def _head(self, request: Request, ids: Sequence[int]) -> tuple[int, ...]:
        """What the prompt begins with whatever the seed description is; empty where that cannot be told."""
        system, user = (*request.messages[:-1],), request.messages[-1]
        key = (*system, user.content.partition(AUDIO_LOCATOR)[0])
        if key not in self._known_heads:
            if len(self._known_heads) >= 1000:
                self._known_heads.clear()
            probes = [
                self.renderer.render((*system, replace(user, content=key[-1] + c, audios=()))).input_ids for c in "[A"
            ]
            self._known_heads[key] = tuple(
                a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(*probes, strict=False))
            )
        head = self._known_heads[key]
        return head if len(head) < len(ids) and tuple(ids[: len(head)]) == head else ()

    def _finish(self, ids: list[int]) -> Generation:
        stopped = bool(ids) and ids[-1] in self.stop_ids
        text = self.encoder.decode(ids[:-1] if stopped else ids)
        return Generation(text, "stop" if stopped else "length", len(ids))


class RowSampler(LogitsProcessor):
    """Samples inside a greedy `generate`: leaves one token a row finite, drawn with that row's own numbers.

    The draw inverts the cumulative distribution of softmax(logits / temperature), cut to its nucleus when top_p < 1,
    at a uniform number that depends on the row's seed and the step alone. So a row's response does not depend on
    which rows share its batch.

    Args:
        seeds: one a row (B).
        sampling: temperature above 0.
        prompt_width: T of the padded prompts, to know the step.
    """

    def __init__(self, seeds: Sequence[int], sampling: Sampling, prompt_width: int) -> None:
        self.temperature, self.top_p = sampling.temperature, sampling.top_p
        self.prompt_width = prompt_width
        rows = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed & (2**63 - 1))
            rows.append(torch.rand(sampling.max_new_tokens, generator=generator, dtype=torch.float64))
        self.uniform = torch.stack(rows)  # (B, max_new_tokens)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = input_ids.shape[1] - self.prompt_width
        probabilities = torch.softmax(scores.double() / self.temperature, dim=-1)  # (B, V)
        if self.top_p < 1.0:
            probabilities = _nucleus(probabilities, self.top_p)
        cumulative = probabilities.cumsum(-1)
        target = self.uniform[:, step, None].to(scores.device) * cumulative[:, -1:]
        chosen = torch.searchsorted(cumulative, target, right=True).clamp_(max=scores.shape[1] - 1)
        return torch.full_like(scores, float("-inf")).scatter_(1, chosen, 0.0)


def _nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zero outside the smallest set of likeliest tokens whose mass reaches top_p (Holtzman et al., 2020)."""
    ordered, index = probabilities.sort(dim=-1, descending=True, stable=True)
    outside = ordered.cumsum(-1) - ordered >= top_p
    return probabilities * torch.zeros_like(probabilities).scatter_(1, index, (~outside).double())


def _stop_ids(model, eos_id: int) -> list[int]:
    declared = getattr(model.generation_config, "eos_token_id", None)
    declared = declared if isinstance(declared, list) else [declared]
    return sorted({eos_id, *(i for i in declared if i is not None)})
