"""Peak memory of the plain step, counted from shapes, beside nemo_desta.training.cost.Memory, which counts ours."""

from nemo_desta.training.cost import FRAMES, Memory

__all__ = ["plain_peak"]

_SCORES = 8
"""Bytes for a pair of places on the way through eager attention without a gradient: scores and softmax, in float32."""
_LOGITS = 12
"""Bytes for a logit in the backward pass: log-softmax, its gradient, and the gradient of the logits, in float32."""


def plain_peak(memory: Memory, rows: int, length: int) -> float:
    """Bytes of a step of reference_step.Reference with a clip a row: all rows padded to `length`, logits everywhere.

    Args:
        memory: of our step with the same models; without checkpointing.
        rows, length: of the padded batch.
    """
    return memory.fixed + max(_encoding(memory, rows), _training(memory, rows, length))


def _encoding(memory: Memory, clips: int) -> float:
    """The encoder's pass: states of the tapped layers, and the attention of one layer with all its scores."""
    encoder, taps = memory.shape.encoder, memory.shape.qformer.taps
    heads = max(1, encoder.size // 64)
    return clips * (taps * FRAMES * encoder.size * memory.bytes + _SCORES * heads * FRAMES**2)


def _training(memory: Memory, rows: int, length: int) -> float:
    llm, q = memory.shape.llm, memory.shape.qformer
    probability = 4 if memory.bytes == 4 else 4 + memory.bytes  # softmax in float32, then a copy in half precision
    scores = llm.layers * llm.heads * length**2 * probability
    repeated = llm.layers * length * 2 * (llm.heads - llm.kv_heads) * llm.head_dim * memory.bytes  # keys and values
    copies = 3 if memory.dropout else 1
    listening = 0.0
    if memory.gpu or not memory.dropout:  # else `of_clip` counts it
        heads = max(1, q.size // 64)
        listening = 4.0 * copies * q.taps * q.layers * heads * q.queries * (FRAMES + q.queries)
    tokens = length * (memory.of_token() + _LOGITS * llm.vocab)
    return rows * (memory.of_clip() + listening + tokens + scores + repeated)
