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
    def calibrate(self, states: Tensor, std: float) -> None:
        """Set initial values from data, so that clips differ in the output before the first step.

        Whisper's inner states are nearly the same for all clips (a few huge dimensions, and the silence that pads a
        short clip to 30 s): at PyTorch's default initialisation clips make up about a thousandth of the output's
        variance, and a short training goes by before the connector has found them. Here keys and values of the
        cross-attention start as if the states were standardised, what they add to the queries is strengthened, and
        the output is centred and spread so that between clips it varies by `std`. Only initial values change, never
        the architecture; weights loaded afterwards are as they were.

        Args:
            states: tapped states (C, L, S, D) of at least two typical clips.
            std: spread of the output between clips, that of the LLM's embeddings say.
        """
        mean, spread = states.float().mean((0, 1, 2)), states.float().std((0, 1, 2)).clamp(min=1e-6)
        for layer in self.qformer.layer:
            for linear in (layer.crossattention.self.key, layer.crossattention.self.value):
                linear.weight.div_(spread)
                linear.bias.sub_(linear.weight @ mean)
            layer.crossattention.output.dense.weight.mul_(_AUDIO_GAIN)
        training = self.training
        self.eval()
        output = torch.cat([self(clip[None]) for clip in states]).float()  # (C, Q, H)
        self.train(training)
        gain = std / output.var(0).mean().sqrt().clamp(min=1e-6)
        self.proj[1].weight.mul_(gain)
        self.proj[1].bias.copy_((self.proj[1].bias - output.mean((0, 1))) * gain)

    def forward(self, states: Tensor) -> Tensor:
        """states (C, L, S, D) -> (C, Q, H), in the connector's dtype."""
        clips, taps, frames, size = states.shape
        states = states.to(self.layer_weights.dtype).reshape(clips * taps, frames, size)
        queries = torch.cat(list(self.layer_prompts)).expand(clips, -1, -1, -1).reshape(clips * taps, -1, size)
        hidden = self.qformer(queries, encoder_hidden_states=states).last_hidden_state
        hidden = hidden.view(clips, taps, self.num_queries, size)
        weights = self.layer_weights.softmax(dim=-1)  # (Q, L)
        fused = torch.einsum("clqd,ql->cqd", hidden, weights.to(hidden.dtype))
        return self.proj(fused)
