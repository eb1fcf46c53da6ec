"""The `backend` section: which engine runs the LLM, with that engine's own settings."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nemo_desta.errors import ConfigError
from nemo_desta.schema import from_dict, suggest
from nemo_desta.selfgen.backends import Backend

__all__ = ["BackendOptions", "HFOptions", "OpenAIOptions", "VLLMOptions", "backend_options"]


@dataclass(frozen=True)
class HFOptions:
    """In process, on CPU or GPU, through transformers. The embedded default."""

    name: ClassVar[str] = "hf"
    decides: ClassVar[tuple[str, ...]] = ("dtype",)
    """The settings that the rows depend on; the others may change when a run is continued."""

    device: str = "cpu"
    """Torch device."""
    dtype: str = "float32"
    """Torch type of the LLM's weights."""

    def build(self, llm: str, max_prompt_tokens: int | None) -> Backend:
        """The engine, LLM loaded."""
        from nemo_desta.selfgen.backends.hf import HFBackend

        return HFBackend(llm, self.device, self.dtype, max_prompt_tokens)


@dataclass(frozen=True)
class OpenAIOptions:
    """Any endpoint that speaks OpenAI's chat protocol: vLLM, SGLang, llama.cpp, NIM, ..."""

    name: ClassVar[str] = "openai"
    decides: ClassVar[tuple[str, ...]] = ("model",)

    base_url: str
    """Such as http://localhost:8000/v1."""
    model: str | None = None
    """The LLM's name at the endpoint; None: that of `llm`. It must be the backbone that is trained later."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; it is written nowhere. A local endpoint needs none."""
    concurrency: int = 64
    """Requests under way at once."""
    max_retries: int = 8
    """After 429, 5xx, time-outs and lost connections, with growing pauses."""
    timeout: float = 300.0
    """Seconds for one request."""
    max_total_tokens: int | None = None
    """Budget of one run, prompt and response tokens together; the batch under way is finished. None: no limit."""

    def build(self, llm: str, max_prompt_tokens: int | None) -> Backend:
        """The engine; nothing is sent yet.

        Raises:
            ConfigError: a limit in tokens is given, which only the endpoint could count.
        """
        from nemo_desta.selfgen.backends.openai import OpenAIBackend

        if max_prompt_tokens is not None:
            raise ConfigError(
                f"max_prompt_tokens={max_prompt_tokens} cannot be kept with backend=openai, whose endpoint has the tokenizer; "
                "leave it out: the endpoint refuses what is too long, and the row is counted as failed."
            )
        return OpenAIBackend(dataclasses.replace(self, model=self.model or llm))


@dataclass(frozen=True)
class VLLMOptions:
    """In process, on GPU, through vLLM's offline engine; its prefix cache is on. Wants `nemo-desta[vllm]`.

    It starts processes of its own: a script that calls `run_selfgen` needs the usual `if __name__ == "__main__":`.
    """

    name: ClassVar[str] = "vllm"
    decides: ClassVar[tuple[str, ...]] = ("dtype", "max_model_len")

    dtype: str = "bfloat16"
    """Torch type of the LLM's weights."""
    max_model_len: int | None = None
    """Prompt and response together, in tokens; less costs less memory. None: what the LLM can take."""
    tensor_parallel_size: int = 1
    """GPUs that share one LLM."""
    gpu_memory_utilization: float = 0.9
    """Share of a GPU's memory that weights and cache may take; of the machine's memory with vLLM's build for CPUs."""
    enforce_eager: bool = False
    """Neither compile nor record CUDA graphs: starts a minute or two sooner, then runs slower."""

    def build(self, llm: str, max_prompt_tokens: int | None) -> Backend:
        """The engine, LLM loaded.

        Raises:
            ConfigError: vLLM is not installed.
        """
        try:
            from nemo_desta.selfgen.backends.vllm import VLLMBackend
        except ModuleNotFoundError as err:
            if err.name != "vllm":
                raise
            raise ConfigError(
                "backend=vllm wants vLLM, which is not installed: pip install 'nemo-desta[vllm]', "
                "or leave it in an environment of its own, run `vllm serve` there and use backend=openai."
            ) from err
        return VLLMBackend(llm, self, max_prompt_tokens)


BackendOptions = HFOptions | OpenAIOptions | VLLMOptions
_KNOWN: dict[str, type[BackendOptions]] = {options.name: options for options in (HFOptions, OpenAIOptions, VLLMOptions)}


def backend_options(section: Mapping[str, Any] | str) -> BackendOptions:
    """The settings of the engine that `name` chooses.

    Args:
        section: `name`, and the fields of that engine's options; or the name alone.

    Raises:
        ConfigError: no such engine, or keys and values that it does not know.
    """
    values = {"name": section} if isinstance(section, str) else dict(section)
    name = values.pop("name", "hf")
    if name not in _KNOWN:
        raise ConfigError(f"backend {name!r} is not known{suggest(str(name), _KNOWN)}.")
    try:
        return from_dict(_KNOWN[name], values)
    except ConfigError as err:
        raise ConfigError(f"backend {name}: {err}") from err
