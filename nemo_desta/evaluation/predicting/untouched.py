"""The backbone LLM by itself, loaded anew from its source: what the model's answers to text are held against."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from nemo_desta.evaluation.predicting.answering import Asked, Said

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel
    from nemo_desta.rendering import Renderer

__all__ = ["TextLLM", "adapted", "untouched"]


class TextLLM:
    """Greedy answers of a causal LM to conversations without audio, by transformers' own generate.

    Args:
        load: gives the LLM (in eval mode) and the renderer of its conversations; called when first asked.
        about: for manifests.
    """

    def __init__(self, load: "Callable[[], tuple[Any, Renderer]]", about: dict[str, Any]) -> None:
        self._load, self._about = load, about
        self._llm: Any = None

    def describe(self) -> dict[str, Any]:
        """See `Answerer.describe`."""
        return self._about

    @torch.inference_mode()
    def answer(self, asked: Sequence[Asked], max_new_tokens: int) -> list[Said]:
        """See `Answerer.answer`."""
        if self._llm is None:
            self._llm, self.renderer = self._load()
        rows = [self.renderer.render(a.messages, where=a.item.id).input_ids for a in asked]
        width, pad = max(map(len, rows)), self.renderer.eos_id
        ids = torch.tensor([[pad] * (width - len(r)) + r for r in rows], device=self._llm.device)
        lengths = torch.tensor([len(r) for r in rows], device=ids.device)
        mask = torch.arange(width, device=ids.device)[None] >= (width - lengths)[:, None]
        eos = self._llm.generation_config.eos_token_id
        stops = {pad, *([eos] if isinstance(eos, int) else eos or [])}
        out = self._llm.generate(
            input_ids=ids, attention_mask=mask.long(), max_new_tokens=max_new_tokens, do_sample=False,
            eos_token_id=sorted(stops), pad_token_id=pad,
        )  # fmt: skip
        return [Said(t) for t in self.renderer.tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)]


def untouched(model: "DeSTAModel") -> TextLLM:
    """The LLM that a model names as its backbone, read from where it came from."""

    def load() -> tuple[Any, Any]:
        from nemo_desta.rendering import Renderer
        from nemo_desta.selfgen.llm import load_llm

        llm, tokenizer = load_llm(model.config.llm, str(model.device), model.config.llm_dtype)
        return llm, Renderer(tokenizer, num_queries=1)

    return TextLLM(load, {"llm": model.config.llm, "dtype": model.config.llm_dtype})


def adapted(model: "DeSTAModel", weights: str | None) -> TextLLM:
    """A model's LLM with its LoRA adapter on, where no audio is heard: what an adapter does to the language model.

    Args:
        weights: fingerprint of the model, for manifests.
    """
    return TextLLM(lambda: (model.llm, model.renderer), {"llm": model.config.llm, "adapter": "on", "weights": weights})
