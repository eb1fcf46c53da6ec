"""Cross-entropy of target tokens straight from the LLM's last states: the logits of a whole batch never exist.

The output layer is frozen, so the gradient needed is that of the states alone. It is taken chunk by chunk in the
forward pass, where the chunk's logits are at hand, and nothing of the size of the vocabulary is kept for the backward.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.functional import linear

__all__ = ["gathered", "target_loss"]

CHUNK = 256
"""Target tokens whose logits exist at a time; with a vocabulary of 128,256 that is 131 MB in float32."""


@contextmanager
def gathered(head: nn.Module) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Weight and bias of the output layer, whole on this device for as long as the context is open."""
    sharded = isinstance(head, FSDPModule)
    if sharded:
        head.unshard()
    yield head.weight, head.bias
    if sharded:
        head.reshard()


def target_loss(hidden: Tensor, head: nn.Linear, labels: Tensor, chunk: int = CHUNK) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropies of M target tokens.

    Args:
        hidden: (M, H) states that predict the targets.
        head: the frozen output layer, H to V.
        labels: (M,) int64.
        chunk: tokens at a time.

    Returns:
        The sum, float32 (), differentiable with respect to `hidden`; and how many targets have the highest logit,
        float32 ().
    """
    with gathered(head) as (weight, bias):
        return _ChunkedCrossEntropy.apply(
            hidden, weight.detach(), None if bias is None else bias.detach(), labels, chunk
        )


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, chunk: int
    ) -> tuple[Tensor, Tensor]:
        total, hits = (torch.zeros((), dtype=torch.float32, device=hidden.device) for _ in range(2))
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(labels), chunk):
            rows, wanted = hidden[start : start + chunk], labels[start : start + chunk, None]
            logits = linear(rows, weight, bias)
            compute = logits.dtype
            logits = logits.float()
            logits -= logits.logsumexp(-1, keepdim=True)  # log-probabilities
            total -= logits.gather(-1, wanted).sum()
            hits += (logits.argmax(-1, keepdim=True) == wanted).sum()
            if gradient is not None:
                logits.exp_()
                logits.scatter_add_(-1, wanted, -torch.ones_like(wanted, dtype=logits.dtype))
                gradient[start : start + chunk] = logits.to(compute) @ weight.to(compute)
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(hits)
        return total, hits

    @staticmethod
    def backward(ctx, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (None if gradient is None else gradient * grad_total), None, None, None, None
