"""Training checkpoints: trainable weights, optimizer and loops, in one file or in shards, whole or not there.

Both kinds are read into the same dictionary of whole tensors on the CPU, so that each can be resumed from under any
strategy and on any number of processes. Nothing is unpickled but tensors and plain values.
"""

import logging
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter

from nemo_desta.errors import CheckpointError
from nemo_desta.files import sync_folder

__all__ = ["META", "WeightsOnlyIO", "is_distributed", "read_checkpoint", "write_distributed", "write_file"]

META = "meta.pt"
"""What of a distributed checkpoint is not sharded; the name is Lightning's. The shards beside it are safetensors files."""

_LOG = logging.getLogger(__name__)


class WeightsOnlyIO(TorchCheckpointIO):
    """Lightning's reading and writing of checkpoint files, without pickled code and without half-written files."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """As write_file."""
        write_file(checkpoint, Path(path))

    def load_checkpoint(self, path: str | Path, map_location: Any = None) -> dict[str, Any]:
        """As read_checkpoint."""
        return read_checkpoint(Path(path))


def is_distributed(path: Path) -> bool:
    """Whether a checkpoint is a folder of shards."""
    return path.is_dir() and (path / META).is_file()


def write_file(checkpoint: dict[str, Any], path: Path) -> None:
    """Write one file; what was at `path` is there until the new file is whole and safe on disk.

    Raises:
        CheckpointError: the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except (OSError, RuntimeError) as err:  # torch's zip writer turns a full disk into a RuntimeError
        raise _unwritable(path, err) from err
    finally:
        temporary.unlink(missing_ok=True)


def write_distributed(checkpoint: dict[str, Any], path: Path, names: list[str]) -> None:
    """Write a folder, each process its shards; a collective of all processes.

    Args:
        checkpoint: Lightning's, whose tensors may be sharded.
        path: the folder; it takes its place when it is whole.
        names: of the optimizer's parameters, in its order.

    Raises:
        CheckpointError: a disk refuses, on any process.
    """
    first = not dist.is_initialized() or dist.get_rank() == 0
    temporary = path.with_name(f".{path.name}.tmp")
    tensors, rest = _tensors_apart(checkpoint, names)

    def begin() -> None:
        if first:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            with (temporary / META).open("wb") as file:
                torch.save(rest, file)
                file.flush()
                os.fsync(file.fileno())

    def shards() -> None:
        dcp.save(tensors, storage_writer=HuggingFaceStorageWriter(str(temporary), save_distributed=True))

    def end() -> None:
        if first:
            _take_place(temporary, path)

    for step in (begin, shards, end):
        failure = _together(step)
        if failure:
            if first:
                shutil.rmtree(temporary, ignore_errors=True)
            raise _unwritable(path, failure)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Lightning's dictionary of a checkpoint of either kind, tensors whole and on the CPU.

    Raises:
        CheckpointError: it is damaged, or holds more than tensors and plain values.
        FileNotFoundError: there is none.
    """
    try:
        if not path.is_dir():
            return torch.load(path, map_location="cpu", weights_only=True)
        if not is_distributed(path):
            raise ValueError(f"a folder without {META}")
        rest = torch.load(path / META, map_location="cpu", weights_only=True)
        return _tensors_back(_read_shards(path, rest.pop("shapes")), rest)
    except FileNotFoundError:
        raise
    except Exception as err:  # torch raises pickle, zip, runtime and value errors for damaged files
        raise CheckpointError(
            f"{path}: cannot be read as a checkpoint ({err}); delete it to resume from an earlier one."
        ) from err


def _unwritable(path: Path, err: object) -> CheckpointError:
    return CheckpointError(
        f"{path}: the checkpoint cannot be written ({err}); the one before it is whole. Make room and start again."
    )


def _together(step: Callable[[], None]) -> str:
    """Do what all processes do and wait for them; returns what went wrong on the first that failed, the same everywhere."""
    failure = ""
    try:
        step()
    except (OSError, RuntimeError, SafetensorError, dcp.api.CheckpointException) as err:
        failure = _reason(err)
    if not dist.is_initialized():
        return failure
    failures = [""] * dist.get_world_size()
    dist.all_gather_object(failures, failure)
    return next(filter(None, failures), "")


def _reason(err: BaseException) -> str:
    """DCP's errors hold one for each process, with tracebacks."""
    if isinstance(err, dcp.api.CheckpointException):
        err = next(iter(err.failures.values()))[0]
    return str(err)


def _take_place(temporary: Path, path: Path) -> None:
    """Put the new folder where the old one was. A kill in between leaves the old one beside it, under a hidden name."""
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.is_dir():
        os.replace(path, old)
    elif path.exists():
        path.unlink()
    os.replace(temporary, path)
    sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _read_shards(path: Path, shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    reader = HuggingFaceStorageReader(str(path))
    found = reader.read_metadata().state_dict_metadata
    for name, shape in shapes.items():
        parts = found[name].chunks if name in found else []
        if sum(math.prod(part.sizes) for part in parts) != math.prod(shape):
            raise ValueError(f"parts of {name} are missing")
    tensors = {name: torch.empty(shape, dtype=found[name].properties.dtype) for name, shape in shapes.items()}
    dcp.load(tensors, storage_reader=reader, no_dist=True)
    return tensors


def _tensors_apart(checkpoint: dict[str, Any], names: list[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What is saved in shards, by name, and the rest of the checkpoint, in which each optimizer's state is by name, too."""
    tensors = {f"model.{name}": value for name, value in checkpoint["state_dict"].items()}
    optimizers = []
    for state in checkpoint.get("optimizer_states", []):
        small: dict[str, dict[str, Any]] = {}
        for number, values in state["state"].items():
            for key, value in values.items():
                if isinstance(value, Tensor) and value.ndim:
                    tensors[f"optimizer.{key}.{names[number]}"] = value
                else:
                    small.setdefault(names[number], {})[key] = value
        optimizers.append({"small": small, "param_groups": state["param_groups"], "names": names})
    rest = {key: value for key, value in checkpoint.items() if key not in ("state_dict", "optimizer_states")}
    shapes = {name: list(value.shape) for name, value in tensors.items()}
    return tensors, {**rest, "optimizers": optimizers, "shapes": shapes}


def _tensors_back(tensors: dict[str, Tensor], rest: dict[str, Any]) -> dict[str, Any]:
    model = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    states = []
    for optimizer in rest.pop("optimizers"):
        numbers = {name: number for number, name in enumerate(optimizer["names"])}
        state = {numbers[name]: dict(values) for name, values in optimizer["small"].items()}
        for full, value in tensors.items():
            kind, _, rest_of = full.partition(".")
            key, _, name = rest_of.partition(".")
            if kind == "optimizer":
                state.setdefault(numbers[name], {})[key] = value
        states.append({"state": state, "param_groups": optimizer["param_groups"]})
    return {**rest, "state_dict": model, "optimizer_states": states}
