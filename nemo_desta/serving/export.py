"""Export: a training checkpoint (or a model folder) to a folder that `from_pretrained` opens, ours or official."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nemo_desta.errors import ConfigError
from nemo_desta.schema import from_dict
from nemo_desta.serving.loading import open_model

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["SCHEMA", "ExportConfig", "run"]

log = logging.getLogger(__name__)


@dataclass
class ExportConfig:
    """Settings of `nemo-desta export`; conf/export.yaml holds them with comments."""

    checkpoint: str
    """Training checkpoint (`*.ckpt`), model folder, or Hub repository."""
    output: str
    """Folder that is written."""
    format: Literal["nemo_desta", "official"] = "nemo_desta"
    """`official` is what the DeSTA2.5 code opens."""
    llm: str | None = None
    """Path or hub id to name in place of the one the checkpoint names; its weights must be the same."""
    encoder: str | None = None
    """The same for Whisper."""
    overwrite: bool = False
    """Write into a folder that holds a model already."""


SCHEMA = ExportConfig


def run(cfg: "DictConfig | Mapping[str, Any]") -> str:
    """Turn a training checkpoint into a model folder: `config.json` and the trained weights as safetensors.

    Returns:
        The folder.

    Raises:
        ConfigError: the folder holds a model already.
        CheckpointError: the checkpoint cannot be read, or the official format cannot express it.
    """
    from omegaconf import DictConfig, OmegaConf

    config = from_dict(
        ExportConfig, OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else dict(cfg)
    )
    output = Path(config.output)
    if (output / "config.json").exists() and not config.overwrite:
        raise ConfigError(f"{output} holds a model already; choose another output, or set overwrite=true.")
    model = open_model(config.checkpoint, config.llm, config.encoder, device="cpu")
    (model.save_official if config.format == "official" else model.save_pretrained)(str(output))
    log.info("%s model of %s in %s", config.format, config.checkpoint, output)
    return str(output)
