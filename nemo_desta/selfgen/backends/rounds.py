"""Batched generation that drops rows as they end, so that the longest response does not make all others wait."""

from collections.abc import Callable, Sequence

import torch
from transformers import (
    Cache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

__all__ = ["generate_in_rounds"]

_SMALLEST = 4  # rows below which dropping some gains nothing


def generate_in_rounds(
    model: torch.nn.Module,
    input_ids: torch.Tensor,
    mask: torch.Tensor,
    cache: Cache | None,
    config: GenerationConfig,
    processor: Callable[[Sequence[int]], LogitsProcessor] | None,
    may_drop: bool,
) -> list[list[int]]:
    """`model.generate` again and again: each time half of the rows have ended, the others go on without them.

    Args:
        model: a causal LM.
        input_ids: (B, T) int64, left-padded.
        mask: (B, T) bool.
        cache: keys and values of the first places of `input_ids`, or None.
        config: greedy, with max_new_tokens, eos_token_id (a list), pad_token_id, and return_dict_in_generate.
        processor: gives the logits processor for the rows of a round, by their numbers.
        may_drop: whether the model's cache can lose rows.

    Returns:
        B lists of new ids, each up to and with its stop token where it has one.
    """
    width, total, stops = input_ids.shape[1], config.max_new_tokens, set(config.eos_token_id)
    rows = list(range(input_ids.shape[0]))
    done: dict[int, list[int]] = {}
    while rows:
        criteria = [_HalfEnded(config.eos_token_id, width)] if may_drop and len(rows) > _SMALLEST else []
        config.max_new_tokens = total - (input_ids.shape[1] - width)
        out = model.generate(
            input_ids=input_ids,
            attention_mask=mask.long(),
            past_key_values=cache,
            generation_config=config,
            logits_processor=LogitsProcessorList([processor(rows)] if processor else []),
            stopping_criteria=StoppingCriteriaList(criteria),
        )
        new = out.sequences[:, width:].tolist()
        ends = [next((i + 1 for i, token in enumerate(ids) if token in stops), None) for ids in new]
        going = [i for i, end in enumerate(ends) if end is None and len(new[i]) < total]
        done |= {row: new[i][: ends[i]] for i, row in enumerate(rows) if i not in set(going)}
        index = torch.tensor(going, device=input_ids.device, dtype=torch.long)
        grown = out.sequences.shape[1] - mask.shape[1]
        mask = torch.cat([mask, mask.new_ones(len(rows), grown)], dim=1)[index]
        rows, input_ids, cache = [rows[i] for i in going], out.sequences[index], out.past_key_values
        if rows:
            cache.batch_select_indices(index)
    return [done[i] for i in range(len(done))]


class _HalfEnded(StoppingCriteria):
    """Ends a round as soon as half of its rows have said a stop token."""

    def __init__(self, stops: Sequence[int], width: int) -> None:
        self.stops, self.width = torch.tensor(stops), width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs) -> torch.Tensor:
        ended = torch.isin(input_ids[:, self.width :], self.stops.to(input_ids.device)).any(1)
        return torch.full_like(ended, bool(2 * ended.sum() >= len(ended)))
