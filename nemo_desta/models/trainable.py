"""The parameters of a DeSTAModel that train: told apart from the frozen ones, taken out, compared, put back."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nemo_desta.errors import CheckpointError
from nemo_desta.models.parallel import like

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel

__all__ = ["compare", "load", "log_groups", "parameter_groups"]

log = logging.getLogger(__name__)


def parameter_groups(model: "DeSTAModel") -> dict[str, list[tuple[str, nn.Parameter]]]:
    """Named groups `connector`, `lora`, `encoder`, `llm`: every parameter is in exactly one."""
    groups: dict[str, list[tuple[str, nn.Parameter]]] = {"connector": [], "lora": [], "encoder": [], "llm": []}
    for name, parameter in model.named_parameters():
        half, group = name.split(".")[:2]
        if half == "llm":
            group = "lora" if ".lora_" in name else "llm"
        groups[group].append((name, parameter))
    return groups


def log_groups(model: "DeSTAModel") -> None:
    for group, members in parameter_groups(model).items():
        total = sum(p.numel() for _, p in members)
        trains = sum(p.numel() for _, p in members if p.requires_grad)
        log.info("%-9s %12d parameters, %12d trainable", group, total, trains)


def compare(model: "DeSTAModel", state: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights that are not, name by name and shape by shape, those that train here.

    Raises:
        CheckpointError: naming what is missing, surplus or of another shape.
    """
    own = {n: p for n, p in model.named_parameters() if p.requires_grad}
    missing, surplus = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{n} {tuple(state[n].shape)} for {tuple(own[n].shape)}"
        for n in own
        if n in state and state[n].shape != own[n].shape
    ]
    if missing or surplus or shapes:
        raise CheckpointError(
            f"{where} does not fit this model: missing {missing[:3]} ({len(missing)}), not known {surplus[:3]} "
            f"({len(surplus)}), other shapes {shapes[:3]} ({len(shapes)}); check the connector, lora, llm and encoder settings."
        )


@torch.no_grad()
def load(model: "DeSTAModel", state: Mapping[str, Tensor], where: str) -> None:
    """Put weights in their places, as the model has them there: whole or in shards.

    Raises:
        CheckpointError: see `compare`; then nothing is changed.
    """
    compare(model, state, where)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.copy_(like(state[name], parameter))
