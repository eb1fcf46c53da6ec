"""What a training step costs, counted from shapes: operations, and bytes of memory.

One multiplication and addition are two operations; norms, activations, rotations and the optimizer are left out (together
under 2 %). Memory is what PyTorch keeps for the backward pass, by the rules of autograd: a frozen linear layer keeps nothing,
one that trains keeps its input.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from nemo_desta.models.loss import CHUNK

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel

__all__ = ["FRAMES", "EncoderShape", "LLMShape", "Memory", "ModelShape", "QFormerShape", "Work", "shape_of"]

FRAMES = 1500
"""Encoder states of a 30 s window; shorter clips are padded to it."""

_QFORMER_INNER = 3072
_MEL = 15e6
"""Bytes that the spectrum of a 30 s window takes on its way to log-mel features, in float32; measured."""


@dataclass(frozen=True)
class LLMShape:
    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int

    @property
    def layer_weights(self) -> int:
        """Weights of the matrices of one layer: what a token is multiplied by."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        return attention + 3 * self.hidden * self.inner

    def forward(self, tokens: float, keys: float) -> float:
        """Operations for `tokens` tokens that see `keys` keys in all (sum over the tokens), without the output layer."""
        return self.layers * (2 * tokens * self.layer_weights + 4 * keys * self.heads * self.head_dim)

    def backward(self, tokens: float, keys: float) -> float:
        """Operations of the gradient of the states alone: the weights are frozen."""
        return self.layers * (2 * tokens * self.layer_weights + 8 * keys * self.heads * self.head_dim)

    def head(self, tokens: float) -> float:
        """Operations of the output layer for `tokens` tokens, one way."""
        return 2.0 * tokens * self.hidden * self.vocab


@dataclass(frozen=True)
class EncoderShape:
    layers: int
    """That run: up to the last tapped one."""
    size: int
    inner: int
    mels: int

    def forward(self, clips: float, layers: int | None = None) -> float:
        layers = self.layers if layers is None else layers
        convolutions = 2 * 3 * (2 * FRAMES * self.mels * self.size + FRAMES * self.size**2)
        layer = 2 * FRAMES * (4 * self.size**2 + 2 * self.size * self.inner) + 4 * FRAMES**2 * self.size
        return clips * (convolutions + layers * layer)


@dataclass(frozen=True)
class QFormerShape:
    layers: int
    queries: int
    taps: int
    size: int
    output: int

    def forward(self, clips: float) -> float:
        """Operations; a backward pass takes about twice as many, for every weight trains."""
        q, d = self.queries, self.size
        own = 2 * q * 4 * d * d + 4 * q * q * d
        cross = 2 * (2 * q + 2 * FRAMES) * d * d + 4 * q * FRAMES * d
        layer = own + cross + 2 * q * 2 * d * _QFORMER_INNER
        return clips * (self.taps * self.layers * layer + 2 * q * d * self.output)

    def backward(self, clips: float) -> float:
        """Twice the forward pass, less the gradient of the encoder's states, which nobody needs."""
        return 2 * self.forward(clips) - clips * self.taps * self.layers * 4 * FRAMES * self.size**2


@dataclass(frozen=True)
class ModelShape:
    llm: LLMShape
    encoder: EncoderShape
    qformer: QFormerShape


@dataclass
class Work:
    """What is in a batch, and with it what has to be computed.

    Attributes:
        clips: passes of the encoder and the Q-Former.
        constant: tokens before the first clip, run once without a gradient; (tokens, keys they see in all).
        rest: all other tokens that the LLM sees.
        targets: tokens whose logits are computed.
    """

    clips: float = 0
    constant: tuple[float, float] = (0, 0)
    rest: tuple[float, float] = (0, 0)
    targets: float = 0

    @classmethod
    def of_packed(cls, batch: dict) -> "Work":
        """Of a batch of data.batch.collate with packed=True."""
        lengths, parents, constant = batch["segment_lengths"], batch["segment_parents"], batch["constant_segments"]
        above: list[int] = []
        for parent in parents:
            above.append(above[parent] + lengths[parent] if parent >= 0 else 0)
        seen = [n * a + n * (n + 1) / 2 for n, a in zip(lengths, above, strict=True)]
        return cls(
            len(batch["audio_len"]),
            (sum(lengths[:constant]), sum(seen[:constant])),
            (sum(lengths[constant:]), sum(seen[constant:])),
            int(batch["target_mask"].sum()),
        )

    @classmethod
    def of_padded(cls, rows: int, length: int, clips: int) -> "Work":
        """As the official code has it: all rows padded, every pair of places, logits everywhere."""
        return cls(clips, (0, 0), (rows * length, rows * length**2), rows * length)

    def operations(self, shape: ModelShape) -> dict[str, float]:
        """By part: encoder, qformer, llm_forward, llm_backward (with logits and loss)."""
        llm, connector = shape.llm, shape.qformer
        return {
            "encoder": shape.encoder.forward(self.clips),
            "qformer": connector.forward(self.clips) + connector.backward(self.clips),
            "llm_forward": llm.forward(*self.constant) + llm.forward(*self.rest),
            "llm_backward": llm.backward(*self.rest) + 2 * llm.head(self.targets),
        }


@dataclass
class Memory:
    """Estimate of the peak of a training step, in bytes.

    Attributes:
        shape: of the model.
        frozen: bytes of the frozen weights.
        trainable: number of parameters that train, in float32.
        bytes: of one number in the activations: 4, or 2 in half precision.
        dropout: whether the Q-Former drops out; off a GPU its attention then keeps all probabilities.
        gpu: whether attention and dropout have fused kernels.
        checkpoint_llm, checkpoint_connector: see AccelerationConfig.
    """

    shape: ModelShape
    frozen: int
    trainable: int
    bytes: int = 4
    dropout: bool = True
    gpu: bool = False
    checkpoint_llm: bool = False
    checkpoint_connector: bool = False
    lora: bool = False
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def fixed(self) -> float:
        """Weights, gradients and AdamW's two averages."""
        return self.frozen + 16.0 * self.trainable

    def of_token(self) -> float:
        """Kept by the LLM for a token that has a gradient."""
        llm = self.shape.llm
        attention = 2 * (llm.heads + llm.kv_heads) * llm.head_dim
        if self.lora:  # inputs of layers with adapters
            attention += llm.hidden
        norms = 2 * llm.hidden * 4  # in float32 whatever the precision
        layer = norms + (attention + 3 * llm.inner) * self.bytes
        if not self.checkpoint_llm:
            return llm.layers * layer
        return llm.layers * llm.hidden * self.bytes + layer

    def of_clip(self) -> float:
        """Kept by the Q-Former for a clip, and the encoder's states."""
        q, taps = self.shape.qformer, self.shape.qformer.taps
        keys_and_values = 2 * FRAMES * q.size
        places = q.queries * (18 * q.size + 3 * _QFORMER_INNER)
        heads = max(1, q.size // 64)
        probabilities = 3 * heads * q.queries * (FRAMES + q.queries) if self.dropout and not self.gpu else 0
        layer = (keys_and_values + places + probabilities) * self.bytes
        kept = q.layers * q.queries * q.size * self.bytes + layer if self.checkpoint_connector else q.layers * layer
        states = FRAMES * q.size * self.bytes
        return taps * (states + kept)

    def transient(self, clips: float, targets: float) -> float:
        """The largest of what comes and goes: log-mel features, the encoder's own pass, or one chunk of logits."""
        encoder = self.shape.encoder
        of_encoder = clips * FRAMES * (2 * encoder.inner + 4 * encoder.size) * self.bytes
        logits = min(targets, CHUNK) * self.shape.llm.vocab * (8 + self.bytes)
        return max(of_encoder, clips * _MEL, logits)

    def peak(self, clips: float, tokens: float, targets: float) -> float:
        """Of a step over a packed batch.

        Args:
            clips: distinct clips.
            tokens: tokens of the LLM that have a gradient.
            targets: of these, target tokens.
        """
        encoder = clips * self.shape.qformer.taps * FRAMES * self.shape.encoder.size * self.bytes
        encoding = encoder + self.transient(clips, 0)
        training = clips * self.of_clip() + tokens * self.of_token() + self.transient(0, targets)
        return self.fixed + max(encoding, training)


def shape_of(model: "DeSTAModel") -> ModelShape:
    """Shapes of a model in memory."""
    llm, encoder = model.base_llm.config, model.perception.encoder
    heads = llm.num_attention_heads
    connector = model.perception.connector
    return ModelShape(
        LLMShape(
            llm.num_hidden_layers,
            llm.hidden_size,
            llm.intermediate_size,
            heads,
            getattr(llm, "num_key_value_heads", None) or heads,
            getattr(llm, "head_dim", None) or llm.hidden_size // heads,
            llm.vocab_size,
        ),
        EncoderShape(
            encoder.tapped_layers[-1] + 1,
            encoder.hidden_size,
            encoder.whisper.config.encoder_ffn_dim,
            encoder.whisper.config.num_mel_bins,
        ),
        QFormerShape(
            len(connector.qformer.layer),
            connector.num_queries,
            len(encoder.tapped_layers),
            encoder.hidden_size,
            llm.hidden_size,
        ),
    )


def weights(modules: Sequence[nn.Module]) -> tuple[int, int]:
    """Bytes of the frozen parameters of some modules, and the number of those that train."""
    own = {id(p): p for m in modules for p in m.parameters()}.values()
    frozen = sum(p.numel() * p.element_size() for p in own if not p.requires_grad)
    return frozen, sum(p.numel() for p in own if p.requires_grad)
