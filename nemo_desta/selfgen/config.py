"""The settings of self-generation, and reading and checking its YAML files."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from nemo_desta.errors import ConfigError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same language; the pools take 7 s without C

__all__ = ["SelfGenConfig", "check_keys", "find_config", "load_yaml"]


@dataclass(frozen=True)
class SelfGenConfig:
    """Settings of one self-generation; conf/desta_selfgen.yaml holds them with comments."""

    cuts: str | list[str]
    """Manifest(s): cuts, recordings with their supervisions beside them, or Shar folders."""
    output_dir: str
    """Where everything is written; a directory that was begun is continued."""
    name: str = "records"
    """Stem of the output files."""
    dataset: str = ""
    """Corpus name in the records."""
    shard: str | None = None
    """`i/n`: work on the i-th of n equal parts of the cuts, counted from 0; None: on all of them."""
    audio_root: str | None = None
    """Data root: audio paths are written relative to it. None: the folder of the first manifest."""
    engine: Literal["local", "ray"] = "local"
    """Where the work is done: in this process, or spread over a Ray cluster."""
    ray: dict[str, Any] = field(default_factory=dict)
    """With engine=ray: which cluster, how many workers; see cluster.RayOptions."""
    backend: dict[str, Any] = field(default_factory=lambda: {"name": "hf"})
    """What runs the LLM, and its settings: see conf/backend/ and backends.options."""
    llm: str = "pypi:smollm2-135m-instruct"
    """The backbone: path, hub id or pypi: name. It must be the one that is trained later."""
    seed: int = 0
    """Of the choice of prompts and of the sampling."""
    prompts_per_cut: int = 1
    """Rows for each cut; their prompts differ while the pool lasts."""
    pools: list[str] = field(default_factory=lambda: ["speech", "sound", "music"])
    """Names in conf/prompts/ or paths."""
    kind_weights: dict[str, float] | None = None
    """Kind of prompt -> how often it is drawn; None: as often as the numbers of prompts say."""
    system_prompts: list[str] | None = None
    """Ids in conf/prompts/system.yaml to draw from; None: all."""
    seed_config: str = "default"
    """Attribute mapping: a name in conf/seed/ or a path."""
    filter_config: str = "default"
    """Rules for responses: a name in conf/filters/ or a path."""
    temperature: float = 0.05
    """The paper's; 0 is greedy."""
    top_p: float = 1.0
    """The paper's."""
    max_new_tokens: int = 256
    """Responses that reach it are dropped (filters, on_length)."""
    batch_size: int = 32
    """Rows in one forward pass; costs memory."""
    max_prompt_tokens: int | None = None
    """Longer prompts fail their row; None: what the LLM can take."""
    sync_every: int = 16
    """Rows between two fsyncs."""
    max_failed: float = 0.05
    """Share of failed rows above which the run stops."""
    review: dict[str, Any] = field(default_factory=dict)
    """Judging and rephrasing of responses by an LLM: see review.ReviewOptions; empty: neither."""
    progress: bool = True
    """Show a bar with the time left."""

    @property
    def part(self) -> tuple[int, int]:
        """Number of this shard, from 0, and how many there are."""
        if self.shard is None:
            return 0, 1
        number, _, of = self.shard.partition("/")
        return int(number), int(of)

    @property
    def suffix(self) -> str:
        """What the names of a shard's files end in; empty without shards."""
        return "" if self.shard is None else "-{:05d}-of-{:05d}".format(*self.part)

    @property
    def stem(self) -> str:
        """Stem of this shard's output files."""
        return self.name + self.suffix

    def checked(self) -> "SelfGenConfig":
        """Itself.

        Raises:
            ConfigError: naming every value that is out of range.
        """
        wrong = [
            f"{k}={getattr(self, k)!r} must be at least 1"
            for k in ("prompts_per_cut", "max_new_tokens", "batch_size", "sync_every")
            if getattr(self, k) < 1
        ]
        if self.temperature < 0:
            wrong.append(f"temperature={self.temperature} must not be negative")
        if not 0 < self.top_p <= 1:
            wrong.append(f"top_p={self.top_p} must be above 0 and at most 1")
        if not 0 <= self.max_failed <= 1:
            wrong.append(f"max_failed={self.max_failed} is a share, from 0 to 1")
        if not self.name or "/" in self.name or self.name.startswith("."):
            wrong.append(f"name={self.name!r} must be a plain file stem")
        if self.shard is not None and not _is_shard(self.shard):
            wrong.append(f"shard={self.shard!r} must be i/n with 0 <= i < n, such as 0/8 for the first of eight")
        if self.engine not in ("local", "ray"):
            wrong.append(f"engine={self.engine!r} must be local or ray")
        if self.engine == "ray" and self.shard is not None:
            wrong.append(f"shard={self.shard!r} is for processes without Ray; engine=ray deals out shards by itself")
        if wrong:
            raise ConfigError("self-generation: " + "; ".join(wrong) + ".")
        return self


def _is_shard(text: str) -> bool:
    found = re.fullmatch(r"(\d{1,5})/(\d{1,5})", str(text))
    return found is not None and int(found[1]) < int(found[2])


def load_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Parse one YAML mapping.

    Raises:
        ConfigError: the file is missing, is no YAML, or holds something else than a mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give the path of a YAML file.")
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: not valid YAML ({err}).") from err
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a mapping is expected, this is a {type(data).__name__}.")
    return data


def check_keys(config: Any, known: set[str], where: str) -> None:
    """Refuse keys that nothing reads; all of them are named at once."""
    if not isinstance(config, Mapping):
        raise ConfigError(f"{where}: a mapping is expected, this is {config!r}.")
    unknown = sorted(str(k) for k in config if k not in known)
    if unknown:
        raise ConfigError(f"{where}: unknown key(s) {', '.join(unknown)}; known are {', '.join(sorted(known))}.")


def find_config(kind: str, name: str) -> Path:
    """A file of conf/<kind>/ by its bare name, or any path as it is.

    Raises:
        ConfigError: neither exists; the names at hand are listed.
    """
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return path
    from nemo_desta.paths import conf_dir

    folder = Path(conf_dir()) / kind
    found = folder / f"{name}.yaml"
    if not found.is_file():
        names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise ConfigError(
            f"{kind} {name!r}: no such file in {folder} (there are: {names}); give one of these or a path ending in .yaml."
        )
    return found
