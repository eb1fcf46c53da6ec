"""Options that trade time for memory, or need a compiler or a GPU: the numbers stay, up to rounding."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from nemo_desta.errors import ConfigError

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel

__all__ = ["AccelerationConfig", "accelerate"]


@dataclass
class AccelerationConfig:
    """The `acceleration:` section of a training YAML. Nothing of it is written to checkpoints."""

    checkpoint_llm: bool = False
    """Keep one state a layer of the LLM and compute the rest again in the backward pass: a fraction of the activations'
    memory for about a third more time in the LLM."""
    checkpoint_connector: bool = False
    """The same for the Q-Former's layers; worth it where many clips stand in a batch."""
    compile: bool = False
    """torch.compile for each layer of encoder, Q-Former and LLM: a minute or more at the first steps, faster ones after."""
    fused_kernels: bool = False
    """Liger's kernels for the LLM's norms, rotary embeddings and MLP. Needs an NVIDIA GPU and `pip install nemo-desta[liger]`."""


def accelerate(model: "DeSTAModel", config: AccelerationConfig) -> None:
    """Change a model in place, once, before it is moved or sharded.

    Raises:
        ConfigError: fused kernels are asked for where there is no GPU, no Liger, or no kernels for this LLM.
    """
    if config.fused_kernels:
        _fuse(model.base_llm)
    llm, encoder, qformer = (list(layers) for layers in _layers(model))
    for layer in (llm if config.checkpoint_llm else []) + (qformer if config.checkpoint_connector else []):
        _checkpoint(layer)
    if config.compile:
        for layer in [*llm, *encoder, *qformer]:
            layer.compile(dynamic=True)  # batches differ in their numbers of tokens and clips


def _layers(model: "DeSTAModel") -> Iterator[Any]:
    yield model.decoder.layers
    yield model.perception.encoder.whisper.layers
    yield model.perception.connector.qformer.layer


def _checkpoint(layer: nn.Module) -> None:
    """Not transformers' own way, which a model in eval mode ignores, as the frozen LLM is."""
    forward = layer.forward

    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    layer.forward = run


def _fuse(llm: nn.Module) -> None:
    if not torch.cuda.is_available():
        raise ConfigError("acceleration.fused_kernels needs an NVIDIA GPU, and there is none here; set it to false.")
    try:
        from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN, _apply_liger_kernel_to_instance
    except ImportError as err:
        raise ConfigError(
            "acceleration.fused_kernels needs Liger: pip install nemo-desta[liger], or set it to false."
        ) from err
    kind = llm.config.model_type
    if kind not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise ConfigError(f"Liger has no kernels for a {kind!r}; set acceleration.fused_kernels to false.")
    # the loss is computed in chunks here already, at target positions only
    _apply_liger_kernel_to_instance(llm, cross_entropy=False, fused_linear_cross_entropy=False)
