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
