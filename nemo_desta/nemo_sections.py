"""The sections of a YAML that belong to Lightning and NeMo, checked against what the installed versions accept.

NeMo drops an unknown data-loading key with one log line, and Lightning stops at the first unknown trainer key: here all
of them are found before anything is built. Importing this module is cheap; calling it imports NeMo.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nemo_desta.schema import suggest, unknown_keys, unknown_names

__all__ = ["DATALOADER", "DATALOADERS", "EXP_MANAGER", "TRAINER", "nemo_problems"]

TRAINER = "trainer"
"""Arguments of `lightning.pytorch.Trainer`."""

EXP_MANAGER = "exp_manager"
"""NeMo's `ExpManagerConfig`."""

DATALOADER = "dataloader"
"""NeMo's `LhotseDataLoadingConfig`: `data.train_ds`."""

DATALOADERS = "dataloaders"
"""The same with `datasets: {name: {...}}` inside: `data.validation_ds`, `data.test_ds`, `data.predict_ds`."""


def nemo_problems(owner: str, cfg: Mapping[str, Any], path: str) -> Iterator[str]:
    """Unknown keys of one section, and an unknown name of a strategy; fits `nemo_desta.schema.problems(..., foreign=nemo_problems)`.

    Args:
        owner: one of the constants of this module.
        cfg: the section.
        path: its dotted name, for the messages.
    """
    if owner == TRAINER:
        yield from unknown_keys(cfg, _trainer_arguments(), path)
        yield from _strategy(cfg.get("strategy"), path)
    elif owner == EXP_MANAGER:
        from nemo.utils.exp_manager import ExpManagerConfig

        yield from unknown_names(cfg, ExpManagerConfig, path)
    elif owner == DATALOADER:
        yield from _dataloader(cfg, path)
    elif owner == DATALOADERS:
        shared = {key: value for key, value in cfg.items() if key != "datasets"}
        yield from _dataloader(shared, path)
        for name, single in (cfg.get("datasets") or {}).items():
            yield from _dataloader(single or {}, f"{path}.datasets.{name}")
    else:
        raise ValueError(f"no section is called {owner!r}")


def _trainer_arguments() -> set[str]:
    from inspect import signature

    from lightning.pytorch import Trainer

    return set(signature(Trainer.__init__).parameters) - {"self"}


def _strategy(name: Any, path: str) -> Iterator[str]:
    from lightning.pytorch.strategies import StrategyRegistry

    from nemo_desta.nemo_plugin import register_strategies

    register_strategies()
    known = ["auto", *StrategyRegistry.available_strategies()]
    if isinstance(name, str) and name not in known:
        hint = suggest(name, known) or f"; there are {', '.join(known)}"
        yield f"{path}.strategy: no strategy is called {name!r}{hint}"


def _dataloader(cfg: Mapping[str, Any], path: str) -> Iterator[str]:
    from dataclasses import fields

    from nemo.collections.common.data.lhotse.dataloader import LhotseDataLoadingConfig

    known = {field.name for field in fields(LhotseDataLoadingConfig)} | {"use_lhotse"}
    if not cfg.get("multi_config"):
        yield from unknown_keys(cfg, known, path)
        return
    nested = {key: value for key, value in cfg.items() if key not in known and isinstance(value, Mapping)}
    yield from unknown_keys({key: value for key, value in cfg.items() if key not in nested}, known, path)
    for key, value in nested.items():
        yield from unknown_keys(value, known, f"{path}.{key}")
