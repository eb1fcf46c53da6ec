"""The configuration of an evaluation: conf/desta_eval.yaml and the benchmarks' sections in conf/benchmarks/."""

from dataclasses import dataclass, field
from typing import Any, Literal

from nemo_desta.errors import ConfigError
from nemo_desta.evaluation.benchmarks import BENCHMARKS
from nemo_desta.schema import suggest

__all__ = ["PREDICTORS", "BenchmarkConfig", "EndpointConfig", "EvalConfig"]

PREDICTORS = ("desta", "backbone", "cascade", "oracle", "endpoint")
"""desta: the model; backbone: its LLM, which gets the question alone; cascade: the LLM that reads Whisper's transcript; oracle:
the LLM that reads the reference text or a description; endpoint: another model that takes audio, behind an OpenAI-compatible API."""


@dataclass
class BenchmarkConfig:
    """One benchmark of an evaluation."""

    data: str | None = None
    """The download, or what `eval prepare` made of it; null: this benchmark is left out."""
    version: str | None = None
    """Content hash (or its beginning) that the questions must have, as `eval prepare` prints it; null: any."""
    subsets: list[str] = field(default_factory=list)
    """Only these; empty: all that are there."""
    limit: int | None = None
    """Only the first so many questions of each subset: for a trial, and said so beside the scores."""
    rule: str | None = None
    """null: the benchmark's first."""
    protocol: str | None = None
    """Clone of the benchmark's repository with its judge prompts, where they do not lie beside the data."""
    options: dict[str, Any] = field(default_factory=dict)
    """Settings of this benchmark's scorer."""
    max_new_tokens: int = 512
    """Longest answer, in tokens."""
    prompts: dict[str, Any] = field(default_factory=dict)
    """Kind of question -> template; see docs/evaluation.md."""


@dataclass
class EndpointConfig:
    """A model that takes audio behind an OpenAI-compatible API."""

    base_url: str
    """Such as http://localhost:8000/v1."""
    model: str
    """Its name there."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; it is written nowhere."""
    concurrency: int = 8
    """Requests under way at once."""
    max_retries: int = 6
    """After 429, 5xx, time-outs and lost connections, with growing pauses."""
    timeout: float = 300.0
    """Seconds for one request."""
    max_calls: int | None = None
    """Budget of one run, in requests; null: no limit."""


@dataclass
class EvalConfig:
    """Settings of `nemo-desta eval predict` and `eval run`."""

    model: str | None
    """Model folder, Hub repository, or training checkpoint; null where only an endpoint is asked."""
    output_dir: str
    """Gets a folder for each benchmark, in it one for each predictor; and the report."""
    benchmarks: dict[str, BenchmarkConfig]
    """Name -> section."""
    predictors: list[str] = field(default_factory=lambda: ["desta", "backbone", "cascade", "oracle"])
    """Who answers; see `PREDICTORS`."""
    llm: str | None = None
    """In place of the language model the checkpoint names."""
    encoder: str | None = None
    """In place of the Whisper the checkpoint names."""
    dtype: str | None = None
    """Of the frozen weights; null keeps what the checkpoint says."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    batch_size: int = 8
    """Questions in one forward pass; costs memory."""
    long_audio: Literal["cut", "split", "error"] = "cut"
    """Clips beyond 30 s: keep the first 30 s (official), hear several clips, or fail the question."""
    max_failed: int = 0
    """Questions that may fail (unreadable audio, endpoint errors) before the run ends with an error, after all others."""
    endpoint: EndpointConfig | None = None
    """Who `endpoint` is."""
    judge: dict[str, Any] | None = None
    """Who judges; null: rules that need a judge are not scored. See docs/evaluation.md."""
    forgetting: int = 20
    """Questions of each benchmark that the model without audio and its untouched backbone are compared on; 0: none."""

    def check(self) -> None:
        """Refuse names that do not exist and an evaluation of nothing.

        Raises:
            ConfigError: naming the key.
        """
        for name in self.predictors:
            if name not in PREDICTORS:
                raise ConfigError(f"predictors: no {name!r}{suggest(name, PREDICTORS)}")
        for name in self.benchmarks:
            if name not in BENCHMARKS:
                raise ConfigError(f"benchmarks: no {name!r}{suggest(name, BENCHMARKS)}")
        if "endpoint" in self.predictors and self.endpoint is None:
            raise ConfigError("predictors has endpoint, and the section endpoint is empty; give base_url and model.")
        if self.model is None and set(self.predictors) - {"endpoint"}:
            raise ConfigError("model: has no value; give it as model=..., or predictors=[endpoint].")
        if not any(b.data for b in self.benchmarks.values()):
            example = f"benchmarks.{next(iter(self.benchmarks), 'sakura')}.data=FOLDER"
            raise ConfigError(
                f"no benchmark has data; give a download as {example} (nemo-desta eval prepare tells where from)."
            )
        if self.batch_size < 1 or self.max_failed < 0 or self.forgetting < 0:
            raise ConfigError("batch_size must be at least 1, max_failed and forgetting at least 0.")
