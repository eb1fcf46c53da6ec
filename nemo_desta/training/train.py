"""Training in NeMo's manner: trainer, experiment manager, model, data, fit."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from nemo.utils.exp_manager import exp_manager
from nemo.utils.trainer_utils import resolve_trainer_cfg
from omegaconf import DictConfig, OmegaConf

from nemo_desta.data.config import check_shards, resolve_data_cfg
from nemo_desta.data.module import DeSTADataModule
from nemo_desta.errors import ConfigError
from nemo_desta.models.acceleration import AccelerationConfig, accelerate
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.nemo_sections import nemo_problems
from nemo_desta.schema import check
from nemo_desta.training import loggers
from nemo_desta.training.calibration import calibrate
from nemo_desta.training.callbacks import ExactResume, FrozenGuard, LossTables
from nemo_desta.training.checkpoints import WeightsOnlyIO
from nemo_desta.training.config import NonFiniteConfig, TrainConfig
from nemo_desta.training.divergence import NonFiniteGuard
from nemo_desta.training.folder import hold, run_folder
from nemo_desta.training.initial import start_from
from nemo_desta.training.preemption import Preemption, time_limit
from nemo_desta.training.progress import Console, StepsBar
from nemo_desta.training.samples import SampleGenerations
from nemo_desta.training.strategies import DDP, FSDP2, StrategyConfig, TrainableCheckpoints, build_strategy

__all__ = ["SCHEMA", "TrainResult", "run"]

SCHEMA = TrainConfig
_LOG = logging.getLogger(__name__)
_DEFAULTS = {
    "seed": 42,
    "init_from": None,
    "guard_frozen": True,
    **{section: {} for section in ("samples", "non_finite", "strategy", "acceleration")},
}
_OURS = {"create_preemption_callback": False, "max_time_per_run": None}
"""Of exp_manager: done by Preemption."""


@dataclass(frozen=True)
class TrainResult:
    """What `run` leaves behind.

    Attributes:
        log_dir: checkpoints/, tables/{train,validation}.csv, samples/, TensorBoard events.
        model_dir: the trained model, for DeSTAModel.from_pretrained.
        step: optimizer steps done in all.
        metrics: the last value of every logged metric.
    """

    log_dir: Path
    model_dir: Path
    step: int
    metrics: dict[str, float]


def run(cfg: DictConfig) -> TrainResult:
    """Train a DeSTA model, or go on with a run that was stopped, and save it.

    Args:
        cfg: a training YAML, see TrainConfig and conf/desta_smol.yaml.

    Raises:
        ConfigError: all that is wrong with the configuration, before anything is built.
        TrainingError: another run is in the same folder; or training cannot go on.
        PreemptedError: it was told to stop; the checkpoint is written.
    """
    _show_progress()
    cfg = OmegaConf.create({**_DEFAULTS, **cfg})
    check(OmegaConf.to_container(cfg, resolve=True), SCHEMA, "the training configuration", nemo_problems)
    _check_steps(cfg)
    loggers.check_wandb(cfg.exp_manager)
    time_limit(cfg.exp_manager.get("max_time_per_run"))
    data_cfg = resolve_data_cfg(cfg.data)  # its errors should not wait for the models
    seed_everything(cfg.seed, workers=True)
    trainer = _trainer(cfg.trainer, StrategyConfig(**cfg.strategy))
    check_shards(data_cfg, trainer.world_size // cfg.strategy.get("tensor_parallel_size", 1))
    with hold(run_folder(cfg.exp_manager) if trainer.is_global_zero else None):
        return _train(cfg, trainer)


def _train(cfg: DictConfig, trainer: Trainer) -> TrainResult:
    limit = time_limit(cfg.exp_manager.get("max_time_per_run"))
    log_dir = Path(exp_manager(trainer, {**cfg.exp_manager, **_OURS}))
    loggers.open_all(trainer)
    model = DeSTAModel(cfg.model, frozen_from_rank_0=isinstance(trainer.strategy, TrainableCheckpoints))
    accelerate(model, AccelerationConfig(**cfg.acceleration))
    data = DeSTADataModule(cfg.data, model.renderer, pad_id=model.renderer.eos_id)
    if trainer.is_global_zero or not model.frozen_from_rank_0:  # else it comes from rank 0 with the rest
        _set_initial_weights(cfg, trainer, model, data)
    trainer.callbacks[:0] = [Preemption(limit), *_callbacks(cfg, trainer, data, log_dir)]
    try:
        trainer.fit(model, data)
    finally:
        data.teardown("fit")  # which Lightning leaves out where training did not end by itself
    return _finish(trainer, model, log_dir)


def _set_initial_weights(cfg: DictConfig, trainer: Trainer, model: DeSTAModel, data: DeSTADataModule) -> None:
    if cfg.init_from is None:
        calibrate(model, data.cfg.train_ds)
    elif not trainer.ckpt_path:  # a resumed run goes on with its own weights
        start_from(model, cfg.init_from)


def _show_progress() -> None:
    """Our log lines on the console of the first process, unless the caller has set up logging."""
    package = logging.getLogger("nemo_desta")
    if rank_zero_only.rank == 0 and not package.hasHandlers():
        handler = Console()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        package.addHandler(handler)
        package.setLevel(logging.INFO)


def _trainer(cfg: DictConfig, strategy: StrategyConfig) -> Trainer:
    try:
        return Trainer(**_trainer_arguments(cfg, strategy))
    # Devices, precision and strategy that do not go together.
    except (MisconfigurationException, ValueError, TypeError) as err:
        raise ConfigError(f"trainer: {err}") from err


def _trainer_arguments(cfg: DictConfig, strategy: StrategyConfig) -> dict[str, Any]:
    """NeMo's resolution, and what must be so: its experiment manager owns loggers and checkpoints, Lhotse the sampling."""
    arguments = resolve_trainer_cfg(cfg)
    arguments["plugins"] = [*arguments.get("plugins", []), WeightsOnlyIO()]
    if arguments.get("enable_progress_bar", True):
        arguments["callbacks"] = [*(arguments.get("callbacks") or []), StepsBar()]
    if arguments.get("strategy") in (DDP, FSDP2):
        arguments["strategy"] = build_strategy(arguments["strategy"], strategy)
    elif strategy != StrategyConfig():
        raise ConfigError(
            f"strategy: these options are for trainer.strategy={DDP} or {FSDP2}, it is {arguments.get('strategy', 'auto')!r}."
        )
    return {**arguments, "logger": False, "enable_checkpointing": False, "use_distributed_sampler": False}


def _check_steps(cfg: DictConfig) -> None:
    scheduled = (cfg.model.get("lr_scheduler") or {}).get("max_steps")
    if cfg.trainer.get("max_steps", -1) == -1 and scheduled is None:
        raise ConfigError(
            "the cosine schedule needs its length: set trainer.max_steps, or model.lr_scheduler.max_steps with trainer.max_epochs "
            "(records x epochs / global batch; a streamed epoch has no length of its own)."
        )


def _callbacks(cfg: DictConfig, trainer: Trainer, data: DeSTADataModule, log_dir: Path) -> list[Any]:
    guard = NonFiniteGuard(NonFiniteConfig(**cfg.non_finite), log_dir / "non_finite")
    bar = any(isinstance(c, StepsBar) and c.visible for c in trainer.callbacks)
    tables = LossTables(log_dir / "tables", 0 if bar else cfg.trainer.get("log_every_n_steps", 10))
    out = [guard, ExactResume(cfg.seed), tables]
    samples = {"num_per_set": 4, "max_new_tokens": 64, **cfg.samples}
    if samples["num_per_set"] and "validation_ds" in data.cfg:
        out.append(SampleGenerations(data.cfg.validation_ds, log_dir / "samples", **samples))
    return [*out, FrozenGuard()] if cfg.guard_frozen else out


def _finish(trainer: Trainer, model: DeSTAModel, log_dir: Path) -> TrainResult:
    model_dir = log_dir / "model"
    model.save_pretrained(str(model_dir), write=trainer.is_global_zero)
    if trainer.is_global_zero:
        _LOG.info("%d steps done; model in %s, tables and samples beside it.", trainer.global_step, model_dir)
    metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if isinstance(v, torch.Tensor)}
    return TrainResult(log_dir, model_dir, trainer.global_step, metrics)
