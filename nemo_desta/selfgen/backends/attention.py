"""Attention for batched decoding: heads that share keys and values read them where they lie.

For padded batches transformers' "sdpa" copies keys and values once for every head of a group, at every token; without
these copies a step of SmolLM2 (three heads a group, 64 rows, about 150 places, 2 CPU cores) took 0.29 s instead of 0.44 s.
With one new token a row, the heads of a group can stand as queries of the same keys, which needs no copy.
"""

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

__all__ = ["NAME", "use_grouped_decoding"]

NAME = "nemo_desta_grouped"


def use_grouped_decoding(model: torch.nn.Module) -> None:
    """Let a model that attends with "sdpa" decode by groups; any other is left as it is."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_bias: torch.Tensor | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query (B, H, Q, D), key and value (B, K, T, D), mask (B, 1, Q, T) or None.

    Returns:
        (B, Q, H, D), and None for the weights.
    """
    batch, heads, queries, size = query.shape
    groups = key.shape[1]
    mask_of_heads = attention_mask is not None and attention_mask.shape[1] > 1
    if queries > 1 or heads == groups or position_bias is not None or mask_of_heads:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask,
            dropout=dropout, scaling=scaling, position_bias=position_bias, **kwargs,
        )  # fmt: skip
    rows = query.reshape(batch, groups, heads // groups, size)
    out = scaled_dot_product_attention(rows, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling)
    return out.reshape(batch, 1, heads, value.shape[-1]), None


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
