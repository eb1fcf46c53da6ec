"""The connector: a Q-Former over tapped encoder layers, fused per query.

Parameter names and shapes are those of the official checkpoints (desta/models/modeling_desta25.py, QformerConnector).
All tapped layers go through in one pass, and attention is SDPA, made non-causal on purpose: under transformers a
BERT decoder turns causal as soon as it is not eager, and the queries of DeSTA see each other.
"""

import torch
from torch import Tensor, nn
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertEncoder

__all__ = ["QFormerConnector"]

_AUDIO_GAIN = 10.0
"""How much calibration strengthens what the cross-attention adds to the queries."""


class QFormerConnector(nn.Module):
    """Tapped states (C, L, S, D) to audio features (C, Q, H).

    Args:
        encoder_size: D, also the Q-Former's own width.
        output_size: H, the LLM's hidden size.
        num_taps: L; each tapped layer has queries of its own.
        num_queries: Q.
        num_layers: depth of the Q-Former, shared by the taps.
        num_heads: attention heads (the encoder's in the official code).
        dropout: of attention and hidden states.
    """

    def __init__(
        self,
        encoder_size: int,
        output_size: int,
        num_taps: int = 4,
        num_queries: int = 64,
        num_layers: int = 6,
        num_heads: int = 20,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        config = BertConfig(
            hidden_size=encoder_size,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            add_cross_attention=True,
            is_decoder=True,
            attn_implementation="sdpa",
        )
        self.num_queries = num_queries
        self.layer_prompts = nn.ParameterList(torch.randn(1, num_queries, encoder_size) for _ in range(num_taps))
        self.layer_weights = nn.Parameter(torch.zeros(num_queries, num_taps))
        self.qformer = BertEncoder(config)
        for layer in self.qformer.layer:
            layer.attention.self.is_causal = False
        self.proj = nn.Sequential(nn.LayerNorm(encoder_size), nn.Linear(encoder_size, output_size))

    @torch.no_grad()
    def scale_output(self, std: float) -> None:
        """Set the initial spread of the output to `std` (that of the LLM's embeddings, say).

        After the layer norm the default initialisation gives 1 / sqrt(3). Only initial values change.
        """
        for parameter in self.proj[1].parameters():
            parameter.mul_(std * 3**0.5)

    @torch.no_grad()
    def calibrate(self, states: Tensor, std: float, words: Tensor | None = None) -> None:
        """Set initial values from data, so that clips differ in the output before the first step.

        Whisper's inner states are nearly the same for all clips (a few huge dimensions, and the silence that pads a
        short clip to 30 s): at PyTorch's default initialisation clips make up about a thousandth of the output's
        variance, and a short training goes by before the connector has found them. Here keys and values of the
        cross-attention start as if the states were standardised, what they add to the queries is strengthened, and
        the output is spread so that between clips it varies by `std`, around zero or around given embeddings, as
        soft prompts are started from words. Only initial values change, never the architecture; weights loaded
        afterwards are as they were.

        Args:
            states: tapped states (C, L, S, D) of at least two typical clips.
            std: spread of the output between clips; that of the LLM's embeddings is a natural unit.
            words: embeddings (K, H) around which the first K queries' output starts, K <= Q; None for zero.
        """
        mean, spread = states.float().mean((0, 1, 2)), states.float().std((0, 1, 2)).clamp(min=1e-6)
        for layer in self.qformer.layer:
            for linear in (layer.crossattention.self.key, layer.crossattention.self.value):
                linear.weight.div_(spread)
                linear.bias.sub_(linear.weight @ mean)
            layer.crossattention.output.dense.weight.mul_(_AUDIO_GAIN)
        training = self.training
        self.eval()
        normed = torch.cat([self.proj[0](self._fuse(clip[None])) for clip in states])  # (C, Q, D)
        self.train(training)
        linear = self.proj[1]
        linear.weight.mul_(std / linear(normed).var(0).mean().sqrt().clamp(min=1e-6))
        centre = linear.bias.new_zeros(linear.out_features) if words is None else words.mean(0).to(linear.bias.dtype)
        linear.bias.copy_(centre - linear.weight @ normed.mean((0, 1)))
        if words is not None:  # the smallest change of the weights that puts each query's centre at its word
            places = normed.mean(0)[: len(words)]  # (K, D)
            miss = words.to(places.dtype) - linear(places)
            linear.weight.add_((torch.linalg.pinv(places, rtol=1e-3) @ miss).T)

    def forward(self, states: Tensor) -> Tensor:
        """states (C, L, S, D) -> (C, Q, H), in the connector's dtype."""
        return self.proj(self._fuse(states))

    def _fuse(self, states: Tensor) -> Tensor:
        """(C, L, S, D) -> (C, Q, D): the Q-Former over all taps at once, then each query's mix of the taps."""
        clips, taps, frames, size = states.shape
        states = states.to(self.layer_weights.dtype).reshape(clips * taps, frames, size)
        queries = torch.cat(list(self.layer_prompts)).expand(clips, -1, -1, -1).reshape(clips * taps, -1, size)
        hidden = self.qformer(queries, encoder_hidden_states=states).last_hidden_state
        hidden = hidden.view(clips, taps, self.num_queries, size)
        weights = self.layer_weights.softmax(dim=-1)  # (Q, L)
        return torch.einsum("clqd,ql->cqd", hidden, weights.to(hidden.dtype))
