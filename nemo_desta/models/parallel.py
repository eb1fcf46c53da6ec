"""How a DeSTA model lies over several devices: who reads the frozen weights, and how FSDP2 and tensor parallelism cut them.

Layer by layer: weights that this process did not read come from rank 0, then tensor parallelism cuts the LLM's layer, then
FSDP2 shards what is left, so that no device ever holds the whole of a sharded model.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from nemo_desta.errors import ConfigError

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel

__all__ = ["DATA", "REPLICATE", "TENSOR", "lay_out", "like", "whole"]

REPLICATE, DATA, TENSOR = "replicate", "data_parallel", "tensor_parallel"
"""Dimensions of the mesh; the last two are named as Lightning and NeMo name them."""

_STYLES: dict[str, Callable[[], ParallelStyle]] = {
    "colwise": ColwiseParallel,
    "rowwise": RowwiseParallel,
    "colwise_gather_output": lambda: ColwiseParallel(output_layouts=Replicate()),
    "rowwise_split_input": lambda: RowwiseParallel(input_layouts=Replicate()),
}
"""transformers' names for how a linear layer is cut."""
_WHOLE = ("replicated_with_grad_allreduce",)
"""And for layers that stay whole; they are frozen, so that their gradients need no thought."""


def lay_out(model: "DeSTAModel", device: torch.device, mesh: DeviceMesh | None) -> None:
    """Put a model's weights where they belong; a collective of all processes.

    Args:
        model: on the CPU; its frozen weights are on the meta device where this process did not read them.
        device: of this process.
        mesh: of the dimensions REPLICATE, DATA and TENSOR; None leaves the model whole on each process (DDP).

    Raises:
        ConfigError: tensor parallelism cannot cut this LLM so.
    """
    arrival, layers = _Arrival(device), set(model.decoder.layers)
    if mesh is not None:
        _check_tensor_parallel(model.base_llm, model.config.lora is not None, mesh[TENSOR].size())
        _untie(model)
    for module in _groups(model):
        arrival.receive(module)
        if mesh is not None:
            if mesh[TENSOR].size() > 1 and module in layers:
                parallelize_module(module, mesh[TENSOR], _plan(model.base_llm))
            fully_shard(module, mesh=_data_mesh(mesh))
    arrival.receive(model)
    if mesh is not None:  # what is in no group (norms, convolutions) is frozen and small, and stays whole
        rest = {p for p in model.parameters() if not isinstance(p, DTensor)}
        fully_shard(model, mesh=_data_mesh(mesh), ignored_params=rest)


def _untie(model: "DeSTAModel") -> None:
    """An output layer that shares the embeddings' weights gets its own: FSDP2 gathers the two at different times."""
    embeddings, head = model.base_llm.get_input_embeddings(), model.head
    if head.weight is embeddings.weight:
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)


def _groups(model: "DeSTAModel") -> Iterator[nn.Module]:
    """Modules whose weights are gathered each by itself, when it is called. Nothing trainable is outside of them."""
    yield from model.perception.encoder.whisper.layers
    yield model.perception.connector
    yield from model.decoder.layers
    yield model.base_llm.get_input_embeddings()
    yield model.head


def _data_mesh(mesh: DeviceMesh) -> DeviceMesh:
    return mesh[DATA] if mesh[REPLICATE].size() == 1 else mesh[REPLICATE, DATA]


class _Arrival:
    """Brings modules to the device, with rank 0's values in place of whatever this process had, each tensor once."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.many = dist.is_initialized() and dist.get_world_size() > 1
        self._made: dict[nn.Parameter, nn.Parameter] = {}  # shared parameters stay shared
        self._arrived: set[Tensor] = set()

    @torch.no_grad()
    def receive(self, module: nn.Module) -> None:
        for part in module.modules():
            for name, parameter in part.named_parameters(recurse=False):
                if parameter.is_meta:
                    setattr(part, name, self._empty(parameter))
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor not in self._arrived and not isinstance(tensor, DTensor):
                tensor.data = tensor.data.to(self.device)
                if self.many:
                    dist.broadcast(tensor.data, src=0)
                self._arrived.add(tensor)

    def _empty(self, parameter: nn.Parameter) -> nn.Parameter:
        if parameter not in self._made:
            empty = torch.empty_like(parameter, device=self.device)
            self._made[parameter] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
        return self._made[parameter]


def _named_plan(llm: nn.Module) -> dict[str, str]:
    """transformers' own plan for a decoder layer of this LLM: the style of each module that does not stay whole."""
    prefix = "layers.*."
    plan = llm.config.base_model_tp_plan or {}
    return {k.removeprefix(prefix): v for k, v in plan.items() if k.startswith(prefix) and v not in _WHOLE}


def _plan(llm: nn.Module) -> dict[str, ParallelStyle]:
    return {name: _STYLES[style]() for name, style in _named_plan(llm).items()}


def _check_tensor_parallel(llm: nn.Module, lora: bool, size: int) -> None:
    if size == 1:
        return
    config, found = llm.config, []
    heads, groups = config.num_attention_heads, getattr(config, "num_key_value_heads", config.num_attention_heads)
    if heads % size or groups % size:
        found.append(f"it does not divide the LLM's {heads} attention heads and {groups} key/value heads")
    plan = _named_plan(llm)
    unknown = sorted({style for style in plan.values() if style not in _STYLES})
    if not plan:
        found.append(f"transformers has no plan for cutting a {config.model_type!r}")
    elif unknown:
        found.append(f"a {config.model_type!r} is cut in ways that are not known here ({', '.join(unknown)})")
    if lora:
        found.append("LoRA's matrices are not cut")
    if found:
        raise ConfigError(
            f"strategy.tensor_parallel_size={size}: {'; '.join(found)}. Set it to 1, or to a size that fits."
        )


@torch.no_grad()
def like(value: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor in the layout of a parameter: its part of this process, if the parameter is sharded."""
    value = value.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return value
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def whole(value: Tensor) -> Tensor:
    """A tensor with all its parts, detached, on the CPU; a collective if it is sharded."""
    value = value.detach()
    return (value.full_tensor() if isinstance(value, DTensor) else value).cpu()
