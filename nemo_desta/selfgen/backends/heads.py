"""What many prompts begin with (system prompt, opening of the user's turn), run through the LLM once for all of them."""

import copy
from collections.abc import Sequence

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

__all__ = ["HeadCache"]

_MOST = 64  # heads kept; there are as many as system prompts


class HeadCache:
    """Keys and values of the heads of prompts.

    Args:
        model: a causal LM.
        pad_id: any token; it is masked.

    Attributes:
        usable: whether the LLM's cache is keys and values of every position in all layers. Others (sliding windows,
            state-space layers) cannot be put together from parts.
    """

    def __init__(self, model: torch.nn.Module, pad_id: int) -> None:
        self.model, self.pad_id = model, pad_id
        layers = DynamicCache(config=model.config.get_text_config(decoder=True)).layers
        self.usable = bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
        self._heads: list[tuple[int, ...]] = []
        self._cache: DynamicCache | None = None

    def select(self, heads: Sequence[tuple[int, ...]]) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
        """The cache for a batch.

        Args:
            heads: B tuples of ids, none empty.

        Returns:
            The cache of B rows and P places, the ids (B, P) int64, left-padded, and their mask (B, P) bool.
        """
        new = [h for h in dict.fromkeys(heads) if h not in self._heads]
        if new:
            kept = self._heads if len(self._heads) + len(new) <= _MOST else []
            self._heads = list(dict.fromkeys([*kept, *heads]))
            self._compute()
        index = torch.tensor([self._heads.index(h) for h in heads], device=self.ids.device)
        cache = copy.deepcopy(self._cache)
        cache.batch_select_indices(index)
        return cache, self.ids[index], self.mask[index]

    @torch.inference_mode()
    def _compute(self) -> None:
        width = max(map(len, self._heads))
        rows = [[self.pad_id] * (width - len(h)) + list(h) for h in self._heads]
        self.ids = torch.tensor(rows, device=self.model.device)
        lengths = torch.tensor([len(h) for h in self._heads], device=self.model.device)
        self.mask = torch.arange(width, device=self.model.device)[None, :] >= (width - lengths)[:, None]
        positions = (self.mask.long().cumsum(-1) - 1).clamp_(min=0)
        out = self.model(
            input_ids=self.ids,
            attention_mask=self.mask.long(),
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = out.past_key_values
