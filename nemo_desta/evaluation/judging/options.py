"""Which judge: `--judge` of the command line, the `judge:` section of a configuration."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nemo_desta.errors import ConfigError
from nemo_desta.evaluation.judging import Judge
from nemo_desta.evaluation.judging.engines import Engine
from nemo_desta.schema import from_dict, raise_all, suggest

__all__ = ["JudgeOptions", "judge_from_spec"]

FORMS = "openai:MODEL, openai:MODEL@http://HOST:PORT/v1, local:MODEL or replay:FILE"
_FILE = "judge_replies.jsonl"
_HOST_WITHOUT_SCHEME = re.compile(r"@(localhost|[^@/]+:\d+)(/|$)")


@dataclass(frozen=True)
class JudgeOptions:
    """The `judge` section. Which fields count depends on `engine`."""

    engine: Literal["openai", "local", "replay"]
    """openai: any endpoint that speaks OpenAI's chat protocol; local: in process; replay: recorded replies only."""
    model: str | None = None
    """Its name at the endpoint; path, hub id or `pypi:` name; for replay: whose replies, where the file has several."""
    file: str | None = None
    """replay: the recorded replies."""
    base_url: str | None = field(default=None, repr=False)
    """openai: such as http://localhost:8000/v1; None: $OPENAI_BASE_URL, or OpenAI itself."""
    api_key_env: str = "OPENAI_API_KEY"
    """openai: environment variable that holds the key; it is written nowhere. A local endpoint needs none."""
    concurrency: int = 16
    """openai: requests under way at once."""
    max_retries: int = 8
    """openai: after 429, 5xx, time-outs, lost connections and nonsense, with growing pauses (two minutes in all)."""
    timeout: float = 120.0
    """openai: seconds for one request."""
    max_calls: int | None = None
    """openai: budget of one run, requests, retries counted. None: no limit."""
    max_total_tokens: int | None = None
    """openai: budget of one run, prompt and reply tokens; what is under way is finished. None: no limit."""
    device: str = "cpu"
    """local: torch device."""
    dtype: str = "float32"
    """local: torch type of the weights."""
    batch_size: int = 8
    """local: replies written at once; more is faster and costs memory."""
    max_new_tokens: int = 1024
    """local: length of a reply where the benchmark names none."""
    cache: str | None = None
    """File of the raw replies that are kept; None: beside the scores."""

    @classmethod
    def parse(cls, section: Mapping[str, Any]) -> "JudgeOptions":
        """From a configuration.

        Raises:
            ConfigError: an unknown key, a value of another type, or one that cannot be.
        """
        try:
            options = from_dict(cls, section)
        except ConfigError as err:
            raise ConfigError(f"judge: {err}") from err
        options._check()
        return options

    @classmethod
    def from_spec(cls, spec: str, **settings: Any) -> "JudgeOptions":
        """From `--judge`.

        Args:
            spec: one of `FORMS`.
            settings: other fields.

        Raises:
            ConfigError: it is none of them.
        """
        engine, colon, rest = spec.partition(":")
        known = ("openai", "local", "replay")
        if engine not in known or not colon or not rest:
            near = suggest(engine, known) if engine not in known else ""
            raise ConfigError(f"--judge: must be {FORMS}{near}")
        return cls.parse({"engine": engine, **_parts(engine, rest), **settings})

    def build(self, default_cache: Path) -> Judge:
        """The judge; nothing is asked or loaded yet.

        Args:
            default_cache: file (or folder) of the raw replies, where `cache` names none.

        Raises:
            ConfigError: a value that cannot be, or the key or the address is missing.
            EvaluationError: the file of replies cannot be used.
        """
        self._check()
        if self.engine == "replay":
            from nemo_desta.evaluation.judging.replay import ReplayJudge

            return ReplayJudge(Path(str(self.file)), self.model)
        from nemo_desta.evaluation.judging.cache import CachedJudge

        path = Path(self.cache) if self.cache else default_cache
        path = path / _FILE if path.is_dir() else path
        return CachedJudge(self._engine(new=not path.exists()), path)

    def _engine(self, new: bool) -> Engine:
        """Who answers. A key that is missing is told at once where nothing has been answered, else when it is needed."""
        if self.engine == "local":
            from nemo_desta.evaluation.judging.engines.local import LocalEngine

            return LocalEngine(str(self.model), self.device, self.dtype, self.batch_size, self.max_new_tokens)
        from nemo_desta.evaluation.judging.engines.address import Address
        from nemo_desta.evaluation.judging.engines.openai import OpenAIEngine

        names = ("concurrency", "max_retries", "timeout", "max_calls", "max_total_tokens")
        address = Address.find(self.base_url, self.api_key_env)
        if new:
            address.check()
        return OpenAIEngine(str(self.model), address, **{n: getattr(self, n) for n in names})

    def _check(self) -> None:
        raise_all(list(self._mistakes()), "judge")

    def _mistakes(self) -> Iterator[str]:
        if self.engine == "replay":
            if not self.file:
                yield "file: missing; engine=replay reads recorded replies from it"
        elif not self.model:
            yield f"model: missing; engine={self.engine} needs its name"
        least = {"max_retries": 0, "max_calls": 0, "max_total_tokens": 0}
        for name in ("concurrency", "batch_size", "max_new_tokens", *least):
            value = getattr(self, name)
            if value is not None and value < least.get(name, 1):
                yield f"{name}: must be {least.get(name, 1)} or more, got {value}"
        if not self.timeout > 0:
            yield f"timeout: must be more than 0 seconds, got {self.timeout}"


def judge_from_spec(spec: str, cache: Path, **settings: Any) -> Judge:
    """The judge that `--judge` names.

    Args:
        spec: "openai:MODEL", "openai:MODEL@BASE_URL", "local:MODEL", "replay:FILE", "replay:FILE@MODEL".
        cache: file (or folder) of the raw replies.
        settings: other fields of `JudgeOptions`.

    Raises:
        ConfigError: no such form, or the key is missing.
        EvaluationError: the file of replies cannot be used.
    """
    return JudgeOptions.from_spec(spec, **settings).build(cache)


def _parts(engine: str, rest: str) -> dict[str, str]:
    if engine == "openai":
        found = re.fullmatch(r"(.+?)@(https?://.+)", rest)
        if found:
            return {"model": found[1], "base_url": found[2]}
        if _HOST_WITHOUT_SCHEME.search(rest):
            raise ConfigError("--judge: the address lacks its beginning; write openai:MODEL@http://HOST:PORT/v1.")
    if engine == "replay":
        file, at, model = rest.rpartition("@")
        return (
            {"file": file, "model": model} if at and not Path(rest).exists() and Path(file).exists() else {"file": rest}
        )
    return {"model": rest}
