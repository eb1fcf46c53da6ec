"""The `model:` section of a YAML, as dataclasses; validated once, flat arguments after that."""

import dataclasses
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from nemo_desta.errors import ConfigError
from nemo_desta.record import AUDIO_LOCATOR

__all__ = ["ConnectorConfig", "DeSTAConfig", "EncoderCacheConfig", "LoraConfig", "OptimizerConfig", "SchedulerConfig"]


@dataclass
class ConnectorConfig:
    num_layers: int = 6
    """Q-Former layers."""
    num_queries: int = 64
    """Places a clip takes in the LLM's sequence."""
    dropout: float = 0.1
    """Of the Q-Former's attention and hidden states."""
    output_scale: str | float | None = None
    """Initial spread of the output: a number, "embeddings" for that of the LLM's embeddings, null for PyTorch's
    default. Changes initial values only."""
    calibration_clips: int = 0
    """Training clips from which initial values are set, so that clips differ in the output before the first step: short
    trainings need it, 0 is PyTorch's initialisation as in DeSTA2.5. Costs an encoder pass for each."""
    calibration_text: str | None = None
    """Words around whose embeddings the calibrated output starts, one token a query, such as a typical seed description;
    null for zero. As with soft prompts, words are where an LLM listens from the first step."""


@dataclass
class LoraConfig:
    r: int = 16
    alpha: int = 16
    dropout: float = 0.1
    target_modules: list[str] = field(default_factory=lambda: ["q_proj", "k_proj", "v_proj"])


@dataclass
class OptimizerConfig:
    lr: float = 1e-4
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    weight_decay: float = 0.01


@dataclass
class SchedulerConfig:
    """Cosine with linear warm-up."""

    warmup_steps: int = 5000
    max_steps: int | None = None
    """Where the cosine ends; null takes the trainer's number of steps."""
    min_lr: float = 0.0


@dataclass
class EncoderCacheConfig:
    """The frozen encoder's states on disk: with few clips and many epochs they are computed once."""

    folder: str | None = None
    """Where they lie; null switches it off. May be shared by processes and runs: files are named by what they depend on."""
    max_gb: float = 20
    """Limit of the folder in 10^9 bytes; the least recently used files go. A clip takes 9 MB for Whisper tiny in float32,
    15 MB for large-v3 in bfloat16; a fast GPU computes the latter in the time it takes to read them."""


@dataclass
class DeSTAConfig:
    llm: str = ""
    """Path, hub id, or `pypi:` name of the frozen LLM."""
    encoder: str = ""
    """Path, hub id, or `pypi:` name of the frozen Whisper."""
    llm_dtype: str = "float32"
    """bfloat16 halves the memory of the frozen LLM; the connector stays in the trainer's precision."""
    encoder_dtype: str = "float32"
    tapped_layers: list[int] | None = None
    """Encoder layers, 0-based; null takes the last of every quarter."""
    encoder_cache: EncoderCacheConfig = field(default_factory=EncoderCacheConfig)
    connector: ConnectorConfig = field(default_factory=ConnectorConfig)
    lora: LoraConfig | None = None
    locator: str = AUDIO_LOCATOR
    placeholder: str | None = None
    """Token that fills audio places; null takes the end-of-sequence token. It is never read."""
    max_transcript_tokens: int = 100
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lr_scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    fingerprints: dict[str, str] | None = None
    """Content hashes of the frozen models a checkpoint was trained on; written by save_pretrained."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "DeSTAConfig":
        """Build and validate; all unknown keys are reported at once.

        Raises:
            ConfigError: unknown keys, or a value that cannot be.
        """
        problems: list[str] = []
        config = _build(cls, data, "model", problems)
        if not problems:
            problems += config._problems()
        if problems:
            raise ConfigError("the model section is wrong:\n  " + "\n  ".join(problems))
        return config

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def _problems(self) -> list[str]:
        out = [
            f"model.{k} is not set; give a path, a hub id or a pypi: name."
            for k in ("llm", "encoder")
            if not getattr(self, k)
        ]
        out += [
            f"model.{k} is {getattr(self, k)!r}; use float32, bfloat16 or float16."
            for k in ("llm_dtype", "encoder_dtype")
            if getattr(self, k) not in ("float32", "bfloat16", "float16")
        ]
        if self.encoder_cache.max_gb <= 0:
            out.append(f"model.encoder_cache.max_gb is {self.encoder_cache.max_gb}; it must be more than 0.")
        if self.connector.num_queries < 1 or self.connector.num_layers < 1:
            out.append("model.connector needs at least one query and one layer.")
        if isinstance(self.connector.output_scale, str) and self.connector.output_scale != "embeddings":
            out.append(
                f"model.connector.output_scale is {self.connector.output_scale!r}; use a number, 'embeddings' or null."
            )
        if self.connector.calibration_text is not None and not self.connector.calibration_clips:
            out.append("model.connector.calibration_text does nothing without calibration_clips; set both or neither.")
        return out


_SECTIONS = {
    "connector": ConnectorConfig,
    "encoder_cache": EncoderCacheConfig,
    "lora": LoraConfig,
    "optimizer": OptimizerConfig,
    "lr_scheduler": SchedulerConfig,
}


def _build(cls: type, data: dict[str, Any], where: str, problems: list[str]) -> Any:
    known = [f.name for f in dataclasses.fields(cls)]
    values = {}
    for key, value in data.items():
        if key not in known:
            near = get_close_matches(key, known, 1)
            problems.append(
                f"{where}.{key} is unknown"
                + (f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}.")
            )
        elif cls is DeSTAConfig and key in _SECTIONS and value is not None:
            if isinstance(value, dict):
                values[key] = _build(_SECTIONS[key], value, f"{where}.{key}", problems)
            else:
                problems.append(f"{where}.{key} must be a mapping, it is {value!r}.")
        else:
            values[key] = value
    return cls(**values)
