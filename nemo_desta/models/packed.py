"""Attention over packed rows: each segment sees itself, causally, and the segments above it, and nothing else.

On a CPU, and in float32, segment by segment through SDPA; on a GPU in half precision in one call of PyTorch's
variable-length flash attention. Keys of a segment above are used where they lie, so no mask of the whole row exists.
"""

from collections.abc import Sequence
from functools import cached_property
from inspect import signature
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from nemo_desta.errors import ConfigError

try:
    from torch.nn.attention.varlen import varlen_attn

    _VARLEN = set(signature(varlen_attn).parameters)
except ImportError:  # before PyTorch 2.10
    _VARLEN = set()

__all__ = ["NAME", "PackedPass", "last_pass", "use_packed_attention"]

NAME = "nemo_desta_packed"
_ARGUMENT = "packed_pass"


def use_packed_attention(llm: torch.nn.Module) -> bool:
    """Let an LLM that attends with "sdpa" take packed rows; everything else it does stays as it is.

    Returns:
        Whether it can; an LLM with an attention of its own cannot.
    """
    if llm.config._attn_implementation == "sdpa":
        llm.set_attn_implementation(NAME)
    return llm.config._attn_implementation == NAME


class PackedPass:
    """One pass of an LLM over a packed row, or over a part of it; handed to its attention layers.

    Args:
        lengths: tokens of each segment, in the order of the row.
        parents: number of the segment above each, -1 for none; counted over `below` and this pass together.
        below: an earlier pass over the first segments of the row, whose keys and values this one sees.
        keep: keep keys and values for a later pass.
    """

    def __init__(
        self, lengths: Sequence[int], parents: Sequence[int], below: "PackedPass | None" = None, keep: bool = False
    ) -> None:
        self.lengths, self.below, self.keep = list(lengths), below, keep
        self.first = len(below.lengths) if below else 0
        self.above: list[list[int]] = list(below.above) if below else []
        for parent in parents:
            self.above.append([*self.above[parent], parent] if parent >= 0 else [])
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        self._on_device: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}
        self._masks: dict[tuple[int, int, torch.device], Tensor] = {}

    def arguments(self, inputs_embeds: Tensor, position_ids: Tensor) -> dict:
        """What the LLM's decoder is called with: embeddings (1, T, H) and positions (1, T) of this pass's tokens."""
        ready = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=inputs_embeds.device)  # so that none is made
        return {
            "inputs_embeds": inputs_embeds,
            "position_ids": position_ids,
            "attention_mask": ready,
            "use_cache": False,
            _ARGUMENT: self,
        }

    @cached_property
    def all_lengths(self) -> list[int]:
        return [*(self.below.lengths if self.below else []), *self.lengths]

    @cached_property
    def key_lengths(self) -> list[int]:
        """How many keys each segment of this pass sees."""
        own = enumerate(self.lengths, self.first)
        return [sum(self.all_lengths[j] for j in self.above[i]) + length for i, length in own]

    def join(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (1, K, T, D) of this pass behind those of the earlier one."""
        if self.keep:
            self.kept[layer] = (key.detach(), value.detach())
        if self.below is None:
            return key, value
        keys, values = self.below.kept[layer]
        return torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)

    def lower_right(self, length: int, width: int, device: torch.device) -> Tensor:
        """Causal mask (length, width) of the last `length` places of `width`; made once for all layers."""
        key = (length, width, device)
        if key not in self._masks:
            self._masks[key] = torch.ones((length, width), dtype=torch.bool, device=device).tril(width - length)
        return self._masks[key]

    def places(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """For variable-length attention: which keys, in order, and where queries and keys of each segment begin."""
        if device not in self._on_device:
            starts = [0, *accumulate(self.all_lengths)]
            spans = [torch.arange(a, b) for a, b in pairwise(starts)]
            seen = [spans[j] for i in range(self.first, len(self.above)) for j in [*self.above[i], i]]
            bounds = [
                torch.tensor([0, *accumulate(n)], dtype=torch.int32, device=device)
                for n in (self.lengths, self.key_lengths)
            ]
            self._on_device[device] = (torch.cat(seen).to(device), *bounds)
        return self._on_device[device]


def last_pass(decoder: torch.nn.Module, batch: dict, embeds: Tensor, apart: bool) -> tuple[dict, int]:
    """Get a packed batch ready for the LLM.

    Args:
        decoder: the LLM up to its last states.
        batch: see data.batch.collate.
        embeds: (1, T, H).
        apart: run the constant segments now, without a graph: nothing trainable reaches them.

    Returns:
        Arguments of the LLM for the rest of the row, and the place in the row at which the rest begins.
    """
    lengths, parents, positions = batch["segment_lengths"], batch["segment_parents"], batch["position_ids"]
    constant = batch["constant_segments"] if apart else 0
    first = sum(lengths[:constant])
    below = PackedPass(lengths[:constant], parents[:constant], keep=True) if constant else None
    if below is not None:
        with torch.no_grad():
            decoder(**below.arguments(embeds[:, :first], positions[:, :first]))
    own = PackedPass(lengths[constant:], parents[constant:], below)
    return own.arguments(embeds[:, first:], positions[:, first:]), first


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packed_pass: PackedPass | None = None,
    **kwargs,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query (1, H, T, D), key and value (1, K, T, D) to (1, T, H, D).

    Raises:
        ConfigError: the LLM has a sliding window that is shorter than a conversation.
    """
    if packed_pass is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    window = kwargs.get("sliding_window")
    if window is not None and max(packed_pass.key_lengths) > window:
        raise ConfigError(
            f"a conversation of {max(packed_pass.key_lengths)} tokens exceeds this LLM's attention window of {window}; "
            "set data.packing=false, or a smaller max_tokens."
        )
    return _attend_packed(packed_pass, module, query, key, value, scaling), None


@torch.compiler.disable  # lengths differ from batch to batch: compiled, each would be a graph of its own
def _attend_packed(
    packed: PackedPass, module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float | None
) -> Tensor:
    key, value = packed.join(module.layer_idx, key, value)
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and "window_size" in _VARLEN:
        return _variable_length(packed, query, key, value, scaling)
    return _by_segment(packed, query, key, value, scaling)


def _variable_length(packed: PackedPass, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    seen, query_bounds, key_bounds = packed.places(query.device)
    keys, values = (x[0].transpose(0, 1)[seen] for x in (key, value))  # (seen, K, D)
    grouped = {"enable_gqa": True} if "enable_gqa" in _VARLEN else {}
    if not grouped:
        keys, values = (x.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for x in (keys, values))
    out = varlen_attn(
        query[0].transpose(0, 1).contiguous(), keys, values, query_bounds, key_bounds,
        max(packed.lengths), max(packed.key_lengths), scale=scaling, window_size=(-1, 0), **grouped,
    )  # fmt: skip
    return out[None]


def _by_segment(packed: PackedPass, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    # split, not slices: the gradient of a slice is as large as the whole row, that of a split is one concatenation
    keys, values = (x.split(packed.all_lengths, dim=2) for x in (key, value))
    out = []
    for number, rows in enumerate(query.split(packed.lengths, dim=2), packed.first):
        above = packed.above[number]
        seen = [torch.cat([x[j] for j in [*above, number]], dim=2) if above else x[number] for x in (keys, values)]
        length, width = rows.shape[2], seen[0].shape[2]
        mask = packed.lower_right(length, width, query.device) if above else None
        out.append(
            scaled_dot_product_attention(
                rows, *seen, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=True
            )
        )
    return torch.cat(out, dim=2).transpose(1, 2)


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
