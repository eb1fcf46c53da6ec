"""The whole training YAML as dataclasses; the sections of Lightning and NeMo are checked against their own."""

from dataclasses import dataclass, field
from typing import Any, Literal

from nemo_desta.data.config import DataConfig
from nemo_desta.models.acceleration import AccelerationConfig
from nemo_desta.models.config import DeSTAConfig
from nemo_desta.nemo_sections import EXP_MANAGER, TRAINER
from nemo_desta.schema import section
from nemo_desta.training.strategies import StrategyConfig

__all__ = ["BudgetConfig", "NonFiniteConfig", "SampleConfig", "TrainConfig"]


@dataclass
class SampleConfig:
    """Answers written at each validation."""

    num_per_set: int = 4
    """Records of each validation set that are answered, the first ones; 0 switches it off."""
    max_new_tokens: int = 64
    """Costs one LLM step a token on rank 0 while the other ranks wait."""


@dataclass
class NonFiniteConfig:
    """What happens when gradients are infinite or no numbers."""

    policy: Literal["stop", "skip"] = "stop"
    """stop: name the records, write their batches and the weights down, and end. skip: leave the step out and go on."""
    max_in_a_row: int = 10
    """Steps left out one after the other after which training ends all the same."""


@dataclass
class BudgetConfig:
    """What `nemo-desta calibrate` looks at; training does not read it."""

    limit_gb: float | None = None
    """Memory that a process may take, in 10^9 bytes; null: that of the GPU, or what is free on this machine, less headroom."""
    headroom: float = 0.1
    """Share of that memory to leave free: batches are not all alike, and allocators fragment."""
    buckets: int = 5
    """Number of buckets, with equal numbers of examples; data.train_ds.bucket_duration_bins goes before."""
    records: int = 2000
    """Examples of the training data that are looked at, the first ones."""
    trial: Literal["auto"] | bool = "auto"
    """Take real steps: auto does on a GPU. On a CPU, true measures one step for each bucket."""


@dataclass
class TrainConfig:
    """A training YAML."""

    model: DeSTAConfig
    data: DataConfig
    trainer: dict[str, Any] = section(TRAINER)
    """Arguments of lightning.pytorch.Trainer."""
    exp_manager: dict[str, Any] = section(EXP_MANAGER)
    """NeMo's ExpManagerConfig: folders, loggers, checkpoints, resume."""
    train_records: Any = None
    """Only read by the YAML's own data.train_ds.input_cfg, as ${train_records}; a short name for the command line."""
    validation_records: Any = None
    """The same for data.validation_ds."""
    audio_root: str | None = None
    """The same for the folder of the clips."""
    init_from: str | None = None
    """Weights to start from: a model folder of ours or of the official code, a Hub repository, or a training checkpoint (.ckpt).
    Optimizer and schedule start anew. A run that is resumed does not read it."""
    seed: int = 42
    """Of initial weights and dropout; the order of the data has its own, data.train_ds.seed."""
    samples: SampleConfig = field(default_factory=SampleConfig)
    non_finite: NonFiniteConfig = field(default_factory=NonFiniteConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    acceleration: AccelerationConfig = field(default_factory=AccelerationConfig)
    budgets: BudgetConfig = field(default_factory=BudgetConfig)
    guard_frozen: bool = True
    """Hash the frozen weights before and after training and refuse a difference: about 1 s for each GB, twice."""
