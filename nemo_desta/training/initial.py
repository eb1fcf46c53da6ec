"""`init_from`: training that starts from weights somebody has trained before, where a resumed run goes on with its own."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from nemo_desta.errors import CheckpointError, ConfigError
from nemo_desta.models.checkpoint import compare_fingerprints, read_checkpoint_folder
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.modules.whisper import default_tapped_layers
from nemo_desta.serving.loading import read_training_checkpoint

__all__ = ["start_from"]

_LOG = logging.getLogger(__name__)
_LORA = ".lora_"


def start_from(model: DeSTAModel, checkpoint: str) -> None:
    """Put the trained weights of a checkpoint into a model; the optimizer and the schedule start anew.

    A checkpoint without LoRA may start a model with it: its connector is taken, the adapters begin at no effect.

    Args:
        model: as the YAML describes it, on this process' device or the CPU, whole.
        checkpoint: a model folder of ours or of the official code, a Hub repository, or a training checkpoint (.ckpt).

    Raises:
        CheckpointError: unreadable, of another architecture, or trained on other frozen weights.
        ConfigError: it has LoRA and the model has not, or another one.
    """
    config, state, marks = _read(checkpoint)
    compare_fingerprints(marks, model.fingerprints, f"init_from={checkpoint}")
    _compare(model, config, checkpoint)
    fresh = {} if any(_LORA in name for name in state) else _adapters(model)
    model.load_trainable({**state, **fresh}, f"init_from={checkpoint}")
    lora = "; LoRA starts anew" if fresh else ""
    _LOG.info("training starts from the weights of %s%s.", checkpoint, lora)


def _read(checkpoint: str) -> tuple[dict[str, Any], dict[str, Tensor], Mapping[str, str] | None]:
    """Model section, weights and fingerprints."""
    if checkpoint.endswith(".ckpt"):
        content = read_training_checkpoint(Path(checkpoint))
        return content["hyper_parameters"]["cfg"], content["state_dict"], content.get("fingerprints")
    read = read_checkpoint_folder(checkpoint)
    return read.config, read.state, read.config.get("fingerprints")


def _compare(model: DeSTAModel, config: Mapping[str, Any], checkpoint: str) -> None:
    """What the shapes of the weights do not tell."""
    stored, own = config.get("lora"), model.config.lora
    if stored is not None and own is None:
        raise ConfigError(
            f"init_from={checkpoint} has LoRA, model.lora is null; set model.lora to what it was trained with: {dict(stored) or 'the defaults, {}'}."
        )
    alpha = None if stored is None else stored.get("alpha", own.alpha)
    if alpha is not None and alpha != own.alpha:
        raise ConfigError(f"init_from={checkpoint} was trained with model.lora.alpha={alpha}, it is {own.alpha}.")
    encoder = model.perception.encoder
    layers = config.get("tapped_layers") or default_tapped_layers(encoder.whisper.config.encoder_layers)
    if list(layers) != list(encoder.tapped_layers):
        raise CheckpointError(
            f"init_from={checkpoint} listens to encoder layers {list(layers)}, model.tapped_layers are {list(encoder.tapped_layers)}."
        )


def _adapters(model: DeSTAModel) -> dict[str, Tensor]:
    return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad and _LORA in n}
