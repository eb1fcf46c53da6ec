"""A checkpoint of a training run, or a model folder, written as a model folder in our own or the official format."""

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Literal

from nemo_desta.errors import CheckpointError
from nemo_desta.schema import from_dict

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from nemo_desta.models.desta import DeSTAModel

__all__ = ["SCHEMA", "ExportConfig", "open_model", "run"]


@dataclass(frozen=True)
class ExportConfig:
    """conf/desta_to_hf.yaml."""

    checkpoint: str
    """A .ckpt file of a training run, or a model folder (to change its format)."""
    output: str
    """Folder to write: config.json and model.safetensors."""
    format: Literal["own", "official"] = "own"
    """`official` is what the DeSTA2.5 code opens; it knows no tapped layers and one LoRA only."""
    llm: str | None = None
    """Path or hub id to open, and to name in the export, in place of the one of the checkpoint."""
    encoder: str | None = None
    """The same for the Whisper model."""


SCHEMA = ExportConfig


def run(cfg: "DictConfig") -> None:
    """Write a checkpoint as a folder that `DeSTAModel.from_pretrained` opens."""
    from omegaconf import OmegaConf
    from tqdm import tqdm

    config = from_dict(ExportConfig, OmegaConf.to_container(cfg, resolve=True))
    model = open_model(config.checkpoint, config.llm, config.encoder)
    if config.format == "official":
        model.save_official(config.output)
    else:
        model.save_pretrained(config.output)
    tqdm.write(f"{config.output}: written in the {config.format} format")


def open_model(checkpoint: str, llm: str | None = None, encoder: str | None = None) -> "DeSTAModel":
    """The model of a Lightning checkpoint file, or of a model folder.

    Raises:
        CheckpointError: no such file, no checkpoint of a DeSTAModel, or trained on other frozen weights.
    """
    path = Path(checkpoint)
    if (path / "config.json").is_file():
        from nemo_desta.models.desta import DeSTAModel

        return DeSTAModel.from_pretrained(checkpoint, llm=llm, encoder=encoder)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder without config.json; give the .ckpt file inside it.")
    stored = _read(path)
    from nemo_desta.models.checkpoint import compare_fingerprints
    from nemo_desta.models.desta import DeSTAModel

    given = {"llm": llm, "encoder": encoder}
    model = DeSTAModel({**stored["hyper_parameters"]["cfg"], **{k: v for k, v in given.items() if v is not None}})
    compare_fingerprints(stored.get("fingerprints"), model.fingerprints, str(path))
    model.load_trainable(stored["state_dict"], str(path))
    return model.eval()


def _read(path: Path) -> dict[str, Any]:
    import torch

    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; give the .ckpt file of a training run.") from error
    except (RuntimeError, UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: damaged, or no checkpoint of a training run ({type(error).__name__})."
        ) from error
    cfg = stored.get("hyper_parameters", {}).get("cfg") if isinstance(stored, dict) else None
    if not isinstance(cfg, dict) or "state_dict" not in stored:
        raise CheckpointError(f"{path}: not a checkpoint of a DeSTAModel; it lacks hyper_parameters and state_dict.")
    return stored
