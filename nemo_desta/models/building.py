"""Parts of a DeSTAModel, made to fit its encoder and its LLM."""

import torch
from torch import nn

from nemo_desta.models.config import DeSTAConfig
from nemo_desta.modules.perception import Perception
from nemo_desta.modules.qformer import QFormerConnector
from nemo_desta.modules.whisper import TappedWhisperEncoder

__all__ = ["build_perception", "head_is_plain"]


def build_perception(config: DeSTAConfig, encoder: nn.Module, llm: nn.Module, read: bool) -> Perception:
    """The tapped encoder and a connector of initial values.

    Args:
        read: whether `llm` holds its weights, whose spread the connector's output may take on.
    """
    tapped = TappedWhisperEncoder(encoder, config.tapped_layers)
    embeddings = llm.get_input_embeddings().weight
    connector = QFormerConnector(
        encoder_size=tapped.hidden_size,
        output_size=embeddings.shape[1],
        num_taps=len(tapped.tapped_layers),
        num_queries=config.connector.num_queries,
        num_layers=config.connector.num_layers,
        num_heads=encoder.config.encoder_attention_heads,
        dropout=config.connector.dropout,
    )
    scale = config.connector.output_scale
    if scale is not None and read and not config.connector.calibration_clips:  # calibration sets it itself
        connector.scale_output(float(embeddings.float().std()) if scale == "embeddings" else float(scale))
    return Perception(tapped, connector)


@torch.no_grad()
def head_is_plain(llm: nn.Module) -> bool:
    """Whether the LLM's logits are its output layer on its last states, with nothing behind (Gemma 2 caps them)."""
    head = llm.get_output_embeddings()
    ids = torch.tensor([[0, 1, 2]], device=head.weight.device)
    hidden = llm.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    return bool(torch.equal(head(hidden), llm(input_ids=ids, use_cache=False).logits))
