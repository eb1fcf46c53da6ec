"""Opening whatever holds a model: a folder of ours, an official one, a Hub repository, a training checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_desta.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel

__all__ = ["from_lightning", "open_model", "read_training_checkpoint"]

_SUFFIX = ".ckpt"


def open_model(
    path_or_hub_id: str,
    llm: str | None = None,
    encoder: str | None = None,
    dtype: str | None = None,
    device: str = "auto",
) -> "DeSTAModel":
    """The model in eval mode on `device`.

    Args:
        path_or_hub_id: a model folder, a Hub repository, or a training checkpoint (`*.ckpt`, a file or a folder of shards).
        llm, encoder: paths or hub ids in place of the names in the checkpoint.
        dtype: of the frozen weights (float32, bfloat16, float16); None keeps what the checkpoint says.
        device: `auto` takes CUDA where there is one.

    Raises:
        CheckpointError, ConfigError, RenderError: see DeSTAModel.from_pretrained.
    """
    import torch

    from nemo_desta.models.desta import DeSTAModel

    target = _device(device)
    if path_or_hub_id.endswith(_SUFFIX):
        model = from_lightning(path_or_hub_id, llm, encoder, dtype)
    else:
        model = DeSTAModel.from_pretrained(path_or_hub_id, llm=llm, encoder=encoder, dtype=dtype)
    return model.to(torch.device(target))


def from_lightning(
    path: str | Path, llm: str | None = None, encoder: str | None = None, dtype: str | None = None
) -> "DeSTAModel":
    """The model of a Lightning checkpoint, read without executing anything in it (`weights_only=True`).

    Raises:
        CheckpointError: missing, damaged, not of a DeSTAModel, or trained on other frozen weights.
    """
    from nemo_desta.models.desta import DeSTAModel

    content = read_training_checkpoint(Path(path))
    config: dict[str, Any] = dict(content["hyper_parameters"]["cfg"])
    config |= {half: name for half, name in (("llm", llm), ("encoder", encoder)) if name}
    if dtype is not None:
        config["llm_dtype"] = config["encoder_dtype"] = dtype
    model = DeSTAModel(config)
    model.on_load_checkpoint(content)
    model.load_trainable(content["state_dict"], str(path))
    return model.eval()


def read_training_checkpoint(path: Path) -> dict[str, Any]:
    """What `nemo-desta train` wrote, its weights and its model section (`hyper_parameters.cfg`) checked to be there.

    Raises:
        CheckpointError: missing, damaged, or not of a DeSTAModel.
    """
    from nemo_desta.training.checkpoints import read_checkpoint

    if not path.exists():
        near = sorted(p.name for p in path.parent.glob(f"*{_SUFFIX}")) if path.parent.is_dir() else []
        raise CheckpointError(
            f"{path}: no such file; " + (f"beside it are {', '.join(near[:8])}." if near else "check the path.")
        )
    content = read_checkpoint(path)
    hyper = content.get("hyper_parameters") if isinstance(content, dict) else None
    if (
        not isinstance(hyper, dict)
        or not isinstance(hyper.get("cfg"), dict)
        or not isinstance(content.get("state_dict"), dict)
    ):
        raise CheckpointError(f"{path}: no DeSTAModel was saved here; give a checkpoint that `nemo-desta train` wrote.")
    return content


def _device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device is {device!r} but PyTorch sees no CUDA device here; use cpu.")
    return device
