"""The embedded backend: batched generation with Hugging Face transformers, on CPU or GPU."""

from collections.abc import Sequence

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LogitsProcessor, LogitsProcessorList

from nemo_desta import pypi_models
from nemo_desta.errors import ConfigError, RenderError
from nemo_desta.rendering import Renderer
from nemo_desta.selfgen.backends import Generation, Request, Sampling

__all__ = ["HFBackend", "RowSampler"]


class HFBackend:
    """Left-padded batches through `generate`; each row's sampling has its own random numbers.

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
        kind = getattr(torch, dtype, None)
        if not isinstance(kind, torch.dtype):
            raise ConfigError(f"dtype {dtype!r} is no torch type; use float32, bfloat16 or float16.")
        path = pypi_models.resolve(llm)
        self.id = llm
        self.device = device
        self.renderer = Renderer(AutoTokenizer.from_pretrained(path), num_queries=1)
        self.tokenizer = self.renderer.tokenizer
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=kind).to(device).eval()
        self.revision = getattr(self.model.config, "_commit_hash", None)
        limit = getattr(self.model.config, "max_position_embeddings", None)
        self.max_prompt_tokens = max_prompt_tokens or limit or 2**31
        self.stop_ids = _stop_ids(self.model, self.renderer.eos_id)

    def prompt_ids(self, request: Request) -> list[int]:
        """What the LLM sees: the conversation that will be trained on, seed descriptions in place of the audio.

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

    def prompt_length(self, request: Request) -> int:
        """In tokens."""
        return len(self.prompt_ids(request))

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """See `Backend.generate`."""
        rows = [self.prompt_ids(r) for r in requests]
        width = max(map(len, rows))
        pad = self.renderer.eos_id
        input_ids = torch.tensor(
            [[pad] * (width - len(r)) + r for r in rows], device=self.device
        )  # (B, T), left-padded
        lengths = torch.tensor([len(r) for r in rows], device=self.device)
        mask = torch.arange(width, device=self.device)[None, :] >= (width - lengths)[:, None]
        config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens, do_sample=False, eos_token_id=self.stop_ids, pad_token_id=pad
        )
        processors = LogitsProcessorList()
        if sampling.temperature > 0:
            processors.append(RowSampler([r.seed for r in requests], sampling, width))
        out = self.model.generate(
            input_ids=input_ids, attention_mask=mask.long(), generation_config=config, logits_processor=processors
        )
        return [self._finish(row) for row in out[:, width:].tolist()]

    def _finish(self, ids: list[int]) -> Generation:
        end = next((i for i, token in enumerate(ids) if token in self.stop_ids), None)
        text = self.tokenizer.decode(ids[:end], skip_special_tokens=True).strip()
        if end is None:
            return Generation(text, "length", len(ids))
        return Generation(text, "stop", end + 1)


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
