"""TensorBoard and W&B: what NeMo's experiment manager leaves to its users."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from nemo_desta.audio import SAMPLING_RATE
from nemo_desta.errors import ConfigError

__all__ = ["check_wandb", "open_all", "show_audio", "show_text"]


def check_wandb(exp_manager: Mapping[str, Any]) -> None:
    """Refuse a W&B logger that cannot work, before anything is built.

    Raises:
        ConfigError: the package is not installed, or the run has neither name nor project.
    """
    if not exp_manager.get("create_wandb_logger"):
        return
    if find_spec("wandb") is None:
        raise ConfigError("exp_manager.create_wandb_logger: the package wandb is not installed; `pip install wandb`.")
    names = exp_manager.get("wandb_logger_kwargs") or {}
    if "name" not in names and "project" not in names:
        raise ConfigError(
            "exp_manager.create_wandb_logger needs to know where to: set exp_manager.wandb_logger_kwargs.project (and name)."
        )


def open_all(trainer: Trainer) -> None:
    """Open the W&B run now, where an error costs nothing.

    Raises:
        ConfigError: W&B refuses: no key, no network, no such project.
    """
    for logger in trainer.loggers:
        if not isinstance(logger, WandbLogger):
            continue
        try:
            logger.experiment  # noqa: B018
        except Exception as err:  # wandb has many of its own
            raise ConfigError(
                f"W&B cannot be opened ({err}); run `wandb login`, or set the environment variable WANDB_MODE=offline, "
                "or exp_manager.create_wandb_logger=false."
            ) from err


def show_text(loggers: Sequence[Any], tag: str, texts: Sequence[str], step: int) -> None:
    """Texts of one validation, in Markdown where TensorBoard shows it."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(tag, "\n".join(texts).replace("\n", "  \n"), step)
        elif isinstance(logger, WandbLogger):
            logger.log_text(tag, columns=["step", "text"], data=[[step, text] for text in texts])


def show_audio(loggers: Sequence[Any], tag: str, waves: Mapping[str, np.ndarray], step: int) -> None:
    """Waveforms, float32 (num_samples,) at 16 kHz, each with a player."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            for name, wave in waves.items():
                sound = torch.from_numpy(wave)[None]
                logger.experiment.add_audio(f"{tag}/{name}", sound, step, sample_rate=SAMPLING_RATE)
        elif isinstance(logger, WandbLogger):
            logger.log_audio(tag, list(waves.values()), sample_rate=[SAMPLING_RATE] * len(waves), caption=list(waves))
