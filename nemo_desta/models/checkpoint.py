"""Checkpoints: our own format, and that of the official DeSTA2.5 code, both of trainable weights only.

Both are a folder with `config.json` and `model.safetensors`. The official names differ from ours in one prefix
(`llm_model.` for `llm.`) and in the keys of the config.
"""

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import HfApi, snapshot_download
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from nemo_desta import __version__
from nemo_desta.errors import CheckpointError
from nemo_desta.models.config import DeSTAConfig

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel

__all__ = [
    "CheckpointFolder",
    "check_fingerprints",
    "compare_fingerprints",
    "load",
    "push",
    "read_checkpoint_folder",
    "save",
    "save_official",
]

MODEL_TYPE, OFFICIAL_TYPE = "nemo_desta", "desta25"
FORMAT_VERSION = 1
_HERE = ("encoder_cache",)
"""Settings of this machine, which do not travel with the weights."""
_PYTORCH = {"format": "pt"}  # metadata that transformers puts into safetensors files
log = logging.getLogger(__name__)


def compare_fingerprints(stored: Mapping[str, str] | None, found: Mapping[str, str], where: str) -> None:
    """Refuse frozen weights other than those that were trained on.

    Raises:
        CheckpointError: naming which half differs.
    """
    for half, mark in (stored or {}).items():
        if found.get(half) != mark:
            raise CheckpointError(
                f"{where} was trained on another {half} (fingerprint {mark[:12]}, found {str(found.get(half))[:12]}); "
                f"give the {half} it was trained on, by path or hub id."
            )


def check_fingerprints(config: DeSTAConfig, found: Mapping[str, str]) -> None:
    """As compare_fingerprints, for the marks that stand in a config."""
    compare_fingerprints(config.fingerprints, found, "the checkpoint")


def save(model: "DeSTAModel", folder: str | Path, write: bool = True) -> None:
    """Write `config.json` and `model.safetensors` (trainable tensors only) into a folder.

    Args:
        write: False for a process that only helps to gather sharded weights.
    """
    state = model.trainable_state_dict()
    settings = {key: value for key, value in model.config.to_dict().items() if key not in _HERE}
    content = {
        "model_type": MODEL_TYPE,
        "format_version": FORMAT_VERSION,
        "nemo_desta_version": __version__,
        "model": {**settings, "fingerprints": dict(model.fingerprints)},
    }
    if write:
        _write(folder, content, state)


def save_official(model: "DeSTAModel", folder: str | Path) -> None:
    """Write the official DeSTA2.5 format. What was opened from it comes out equal: names, other keys and weights.

    Raises:
        CheckpointError: the model has tapped layers or adapters that this format cannot tell of.
    """
    c = model.config
    if c.tapped_layers is not None:
        raise CheckpointError("the official format knows no tapped_layers; save_pretrained keeps them.")
    if c.lora is not None and (c.lora.r, c.lora.alpha, sorted(c.lora.target_modules)) != (
        16,
        16,
        ["k_proj", "q_proj", "v_proj"],
    ):
        raise CheckpointError(
            "the official format knows one LoRA only (r 16, alpha 16, on q, k and v); save_pretrained keeps yours."
        )
    config = {
        **model.official_config,
        "model_type": OFFICIAL_TYPE,
        "llm_model_id": model.names["llm"],
        "encoder_model_id": model.names["encoder"],
        "connector_mode": "qformer_1",
        "qformer_num_hidden_layers": c.connector.num_layers,
        "prompt_size": c.connector.num_queries,
        "use_lora": c.lora is not None,
        "audio_locator": c.locator,
        "placeholder_token": c.placeholder or model.tokenizer.eos_token,
    }
    state = {_official_name(k): v for k, v in model.trainable_state_dict().items()}
    _write(folder, config, state, model.official_metadata)


def push(model: "DeSTAModel", repo_id: str, private: bool = False, official: bool = False) -> str:
    """Upload the checkpoint to a repository on the Hugging Face Hub, made if need be, and return its address.

    Raises:
        CheckpointError: the Hub cannot be reached or refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        (save_official if official else save)(model, folder)
        try:
            api = HfApi()
            address = str(api.create_repo(repo_id, private=private, exist_ok=True))
            api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload DeSTA checkpoint")
        except Exception as err:  # huggingface_hub lets its HTTP client's own errors through
            raise CheckpointError(
                f"{repo_id!r} cannot be written on the Hub ({err}); check the name and `hf auth login`."
            ) from err
    return address


def _official_name(name: str) -> str:
    return name.replace("llm.", "llm_model.", 1) if name.startswith("llm.") else name


def _own_name(name: str) -> str:
    return name.replace("llm_model.", "llm.", 1) if name.startswith("llm_model.") else name


def _write(
    folder: str | Path,
    config: dict[str, Any],
    state: dict[str, torch.Tensor],
    metadata: dict[str, str] | None = _PYTORCH,
) -> None:
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        weights, text = (folder / f".{name}.{os.getpid()}.tmp" for name in ("weights", "config"))
        save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, weights, metadata)
        text.write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        weights.chmod(text.stat().st_mode)  # safetensors writes 0600; a shared folder follows the umask
        os.replace(weights, folder / "model.safetensors")
        os.replace(text, folder / "config.json")
    except OSError as err:
        raise CheckpointError(f"{folder}: the checkpoint cannot be written ({err}); choose another folder.") from err


@dataclass(frozen=True)
class CheckpointFolder:
    """A checkpoint as read from its folder, in our names.

    Attributes:
        config: the model section it was saved with, or what stands for it in an official one.
        state: trainable weights by parameter name.
        official, metadata: config.json and the weights' metadata as they were, if it is an official one.
    """

    folder: Path
    config: dict[str, Any]
    state: dict[str, torch.Tensor]
    official: dict[str, Any] | None
    metadata: dict[str, str] | None


def read_checkpoint_folder(path_or_hub_id: str | Path) -> CheckpointFolder:
    """Read a checkpoint of ours or an official one, without building its model.

    Raises:
        CheckpointError: no checkpoint there, or damaged.
    """
    folder = _folder(str(path_or_hub_id))
    stored = _read_config(folder)
    state, metadata = _read_state(folder)
    if stored.get("model_type") != OFFICIAL_TYPE:
        return CheckpointFolder(folder, dict(stored["model"]), state, None, metadata)
    renamed = {_own_name(k): v for k, v in state.items()}
    return CheckpointFolder(folder, _from_official(stored, folder), renamed, stored, metadata)


def load(
    cls: type["DeSTAModel"],
    path_or_hub_id: str | Path,
    llm: str | None = None,
    encoder: str | None = None,
    dtype: str | torch.dtype | None = None,
) -> "DeSTAModel":
    """Open a checkpoint of ours or an official one, in eval mode.

    Args:
        path_or_hub_id: a folder, or a repository on the Hub.
        llm, encoder: paths or hub ids in place of the stored names. The stored fingerprints must still fit. A name
            stored as a relative path means the folder of that name inside the checkpoint, if there is one.
        dtype: of the frozen weights; None keeps what the checkpoint says.

    Raises:
        CheckpointError: no checkpoint there, damaged, or trained on other frozen weights.
    """
    read = read_checkpoint_folder(path_or_hub_id)
    config, folder = dict(read.config), read.folder
    names = {half: str(given or config.get(half) or "") for half, given in (("llm", llm), ("encoder", encoder))}
    config |= {half: _inside(folder, name) for half, name in names.items()}
    if dtype is not None:
        config["llm_dtype"] = config["encoder_dtype"] = str(dtype).removeprefix("torch.")
    model = cls(config)
    if read.official is not None:
        model.official_config, model.official_metadata, model.names = read.official, read.metadata, names
    model.load_trainable(read.state, str(folder / "model.safetensors"))
    return model.eval()


def _folder(path_or_hub_id: str) -> Path:
    path = Path(path_or_hub_id)
    if path.is_dir():
        return path
    if path.is_file():
        hint = (
            "turn a training checkpoint into a folder with `nemo-desta export`"
            if path.suffix == ".ckpt"
            else "name its folder"
        )
        raise CheckpointError(f"{path} is a file, a checkpoint is a folder; {hint}.")
    try:
        return Path(snapshot_download(path_or_hub_id, allow_patterns=["config.json", "*.safetensors"]))
    except (OSError, ValueError) as err:
        raise CheckpointError(
            f"{path_or_hub_id!r} is no folder and cannot be had from the Hub ({type(err).__name__}); check the name."
        ) from err


def _inside(folder: Path, name: str) -> str:
    """A model that lies in the checkpoint's own folder under this name, else the name."""
    inside = folder / name
    return str(inside) if name and ".." not in Path(name).parts and inside.is_dir() else name


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise CheckpointError(
            f"{file}: cannot be read ({err}); a checkpoint is a folder with config.json and model.safetensors."
        ) from err
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind == OFFICIAL_TYPE or (kind == MODEL_TYPE and isinstance(config.get("model"), dict)):
        return config
    raise CheckpointError(
        f"{file}: model_type is {kind!r}; this opens {MODEL_TYPE!r} and {OFFICIAL_TYPE!r} checkpoints."
    )


def _from_official(stored: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The official config's keys in ours. Source: desta/models/modeling_desta25.py, DeSTA25Config."""
    missing = [key for key in ("llm_model_id", "encoder_model_id") if not isinstance(stored.get(key), str)]
    if missing:
        raise CheckpointError(f"{folder / 'config.json'}: {' and '.join(missing)} missing; copy the checkpoint again.")
    mode = stored.get("connector_mode", "qformer_1")
    if mode != "qformer_1":
        raise CheckpointError(f"connector_mode {mode!r} is unknown; the official code has 'qformer_1' only.")
    return {
        "llm": stored["llm_model_id"],
        "encoder": stored["encoder_model_id"],
        "connector": {
            "num_layers": stored.get("qformer_num_hidden_layers", 2),
            "num_queries": stored.get("prompt_size", 64),
        },
        "lora": {} if stored.get("use_lora") else None,
        "locator": stored.get("audio_locator", "<|AUDIO|>"),
        "placeholder": stored.get("placeholder_token"),
    }


def _read_state(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, str] | None]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder}: holds no .safetensors file; copy the whole checkpoint.")
    try:
        with safe_open(files[0], "pt") as first:
            metadata = first.metadata()
        return {k: v for file in files for k, v in load_file(file).items()}, metadata
    except (SafetensorError, OSError) as err:
        raise CheckpointError(f"{folder}: damaged weights ({err}); copy the checkpoint again.") from err
