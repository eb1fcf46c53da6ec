"""Strategies by name: `trainer.strategy: desta_ddp` and `trainer.strategy: desta_fsdp2`, sizes in the `strategy:` section.

Both are Lightning's own. What is added: the frozen weights are read by one process, checkpoints hold trainable weights
only, in one file or in shards, and any of them can be resumed from under either strategy.
"""

import math
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, ParallelStrategy
from torch.distributed.device_mesh import init_device_mesh

from nemo_desta.errors import CheckpointError, ConfigError
from nemo_desta.models.parallel import DATA, REPLICATE, TENSOR, like, whole
from nemo_desta.training.checkpoints import read_checkpoint, write_distributed

__all__ = [
    "DDP",
    "FSDP2",
    "DeSTADDPStrategy",
    "DeSTAFSDP2Strategy",
    "StrategyConfig",
    "TrainableCheckpoints",
    "build_strategy",
    "mesh_sizes",
]

DDP, FSDP2 = "desta_ddp", "desta_fsdp2"


@dataclass
class StrategyConfig:
    """The `strategy:` section, for `trainer.strategy: desta_ddp` or `desta_fsdp2`."""

    data_parallel_size: Literal["auto"] | int = "auto"
    """Processes among which each weight is sharded; auto: all that the other two sizes leave. desta_fsdp2 only."""
    replicate_size: int = 1
    """Groups of shards that hold the same weights (HSDP): with one for each node, weights are gathered within nodes only.
    desta_fsdp2 only."""
    tensor_parallel_size: int = 1
    """Processes among which each layer of the LLM is cut; for LLMs too large for one device even when sharded. Stay
    within a node. desta_fsdp2 only."""
    distributed_checkpoint: bool = False
    """Each process writes its part into a folder, in place of one file. Worth it where gathering the trainable weights
    takes long; either kind can be resumed from under any strategy and number of processes."""
    timeout_minutes: int = 30
    """After which a process that waits for another gives up."""
    process_group_backend: str | None = None
    """null: nccl on GPUs, gloo on CPUs."""


def build_strategy(name: str, options: StrategyConfig) -> "DeSTADDPStrategy | DeSTAFSDP2Strategy":
    """The strategy of this name.

    Raises:
        ConfigError: sizes are given that it has no use for, or that cannot be.
    """
    sizes = (options.data_parallel_size, options.replicate_size, options.tensor_parallel_size)
    if name == DDP and sizes != ("auto", 1, 1):
        raise ConfigError(
            "strategy: data_parallel_size, replicate_size and tensor_parallel_size belong to desta_fsdp2; desta_ddp keeps the whole model on each process."
        )
    if any(size != "auto" and size < 1 for size in sizes):
        raise ConfigError(f"strategy: sizes must be 1 or more, they are {sizes}.")
    common = {
        "timeout": timedelta(minutes=options.timeout_minutes),
        "process_group_backend": options.process_group_backend,
    }
    if name == DDP:
        return DeSTADDPStrategy(options, **common)
    return DeSTAFSDP2Strategy(options, **common)


def mesh_sizes(options: StrategyConfig, world_size: int) -> tuple[int, int, int]:
    """Sizes of the dimensions replicate, data and tensor.

    Raises:
        ConfigError: they do not multiply to the number of processes.
    """
    given = options.replicate_size * options.tensor_parallel_size
    data = max(1, world_size // given) if options.data_parallel_size == "auto" else options.data_parallel_size
    sizes = (options.replicate_size, data, options.tensor_parallel_size)
    if math.prod(sizes) != world_size:
        fitting = [d for d in range(1, world_size + 1) if world_size % d == 0]
        raise ConfigError(
            f"strategy: replicate_size {sizes[0]} x data_parallel_size {sizes[1]} x tensor_parallel_size {sizes[2]} is "
            f"{math.prod(sizes)}, but there are {world_size} processes; use sizes that multiply to {world_size} (each one of "
            f"{', '.join(map(str, fitting))}), or other trainer.devices and trainer.num_nodes."
        )
    return sizes


class TrainableCheckpoints(ParallelStrategy):
    """What both strategies do with checkpoints."""

    options: StrategyConfig
    shards_weights = False
    """Whether all processes have to take part when the model answers."""

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        trains = {n: p.detach() for n, p in self.lightning_module.named_parameters() if p.requires_grad}
        return trains if self.options.distributed_checkpoint else {n: whole(p) for n, p in trains.items()}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        state = optimizer.state_dict()
        if self.options.distributed_checkpoint:
            return state
        gathered = {
            number: {k: whole(v) if isinstance(v, torch.Tensor) else v for k, v in values.items()}
            for number, values in state["state"].items()
        }
        return {**state, "state": gathered}

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        path = Path(self.broadcast(str(filepath)))
        if self.options.distributed_checkpoint:
            names = [n for n, p in self.lightning_module.named_parameters() if p.requires_grad]
            write_distributed(checkpoint, path, names)
            return
        failure = None
        if self.is_global_zero:
            try:
                self.checkpoint_io.save_checkpoint(checkpoint, path)
            except CheckpointError as err:
                failure = str(err)
        failure = self.broadcast(failure)
        if failure:  # on all processes, none of which is left waiting
            raise CheckpointError(failure)

    def load_checkpoint(self, checkpoint_path: str | Path) -> dict[str, Any]:
        return read_checkpoint(Path(self.broadcast(str(checkpoint_path))))

    def load_model_state_dict(self, checkpoint: dict[str, Any], strict: bool = True) -> None:
        self.lightning_module.load_trainable(checkpoint["state_dict"], "the checkpoint to resume from")

    def load_optimizer_state_dict(self, checkpoint: dict[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            placed = {
                number: {k: _placed(v, parameters[number]) for k, v in values.items()}
                for number, values in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": placed})


def _placed(value: Any, parameter: torch.Tensor) -> Any:
    """A value of an optimizer's state as its parameter lies; step counts stay as they are."""
    return like(value, parameter) if isinstance(value, torch.Tensor) and value.shape == parameter.shape else value


class DeSTADDPStrategy(TrainableCheckpoints, DDPStrategy):
    """Lightning's DDP: the whole model on each process, gradients of trainable weights averaged.

    Every process runs perception and LLM once a step whatever its batch holds, so nothing is ever unused.
    """

    strategy_name = DDP

    def __init__(self, options: StrategyConfig, **kwargs: Any) -> None:
        super().__init__(find_unused_parameters=False, gradient_as_bucket_view=True, **kwargs)
        self.options = options


class DeSTAFSDP2Strategy(TrainableCheckpoints, ModelParallelStrategy):
    """Lightning's model parallelism: FSDP2 over replicas and shards, tensor parallelism in the LLM."""

    strategy_name = FSDP2
    shards_weights = True

    def __init__(self, options: StrategyConfig, **kwargs: Any) -> None:
        super().__init__(save_distributed_checkpoint=options.distributed_checkpoint, **kwargs)
        self.options = options

    def set_world_ranks(self) -> None:
        """Lightning's hook at the first moment that the number of processes is known, before any model is built."""
        super().set_world_ranks()
        mesh_sizes(self.options, self.num_nodes * self.num_processes)

    def setup_environment(self) -> None:
        self._setup_distributed()
        sizes = mesh_sizes(self.options, self.world_size)
        names = (REPLICATE, DATA, TENSOR)
        self._device_mesh = init_device_mesh(self.root_device.type, sizes, mesh_dim_names=names)
        self.lightning_module._device_mesh = self._device_mesh

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        mesh = self.device_mesh
        replicas, shards = mesh[REPLICATE], mesh[DATA]
        rank = replicas.get_local_rank() * shards.size() + shards.get_local_rank()
        return {"num_replicas": replicas.size() * shards.size(), "rank": rank}
