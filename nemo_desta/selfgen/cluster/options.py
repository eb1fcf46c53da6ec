"""The `ray` section of self-generation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nemo_desta.errors import ConfigError
from nemo_desta.schema import from_dict
from nemo_desta.selfgen.backends import Backend
from nemo_desta.selfgen.backends.options import BackendOptions, HFOptions, OpenAIOptions, VLLMOptions

__all__ = ["RayOptions", "backend_of_worker"]


@dataclass(frozen=True)
class RayOptions:
    """Which cluster, and how the work is dealt out."""

    address: str | None = None
    """Of a running cluster: `auto` on one of its nodes, or head:6379; None: a Ray of its own on this machine."""
    workers: int = 2
    """Processes, each with the LLM loaded once."""
    num_cpus: float = 1.0
    """CPUs that a worker reserves; it computes with as many threads."""
    num_gpus: float = 0.0
    """GPUs that a worker reserves and sees."""
    shards: int | None = None
    """Parts that are dealt out; None: what the output directory was begun with, 8 for each worker in a new one."""
    max_deaths: int = 3
    """Deaths of workers at one shard, without a row finished in between, after which the run stops."""
    patience: float = 600.0
    """Seconds without a sign of any worker, for lack of free CPUs or GPUs, after which the run stops."""

    @classmethod
    def parse(cls, section: Mapping[str, Any]) -> "RayOptions":
        """The settings that a `ray` section describes.

        Raises:
            ConfigError: naming unknown keys, or every value that is out of range.
        """
        try:
            options = from_dict(cls, section)
        except ConfigError as err:
            raise ConfigError(f"ray: {err}") from err
        if options.address is not None and options.address.startswith("ray://"):
            raise ConfigError(
                f"ray.address={options.address}: Ray Data wants to run on a node of the cluster; start there, with ray.address=auto."
            )
        lowest = {"workers": 1, "num_cpus": 0, "num_gpus": 0, "shards": 2, "max_deaths": 1, "patience": 1}
        wrong = [
            f"ray.{name}={value} must be at least {least}"
            for name, least in lowest.items()
            if (value := getattr(options, name)) is not None and value < least
        ]
        if wrong:
            raise ConfigError("self-generation: " + "; ".join(wrong) + ".")
        return options


def backend_of_worker(backend: BackendOptions | Backend, options: RayOptions) -> BackendOptions | Backend:
    """What each worker builds its engine from: the same, with its share of a budget of tokens.

    Raises:
        ConfigError: the engine computes on GPUs and the workers are given none, or too few.
    """
    needed = 0
    if isinstance(backend, HFOptions) and backend.device.startswith("cuda") and not options.num_gpus:
        needed = 1
    if isinstance(backend, VLLMOptions) and 1 < backend.tensor_parallel_size != options.num_gpus:
        needed = backend.tensor_parallel_size
    if needed:
        raise ConfigError(
            f"ray.num_gpus={options.num_gpus:g}, but the LLM of each worker takes {needed}; set ray.num_gpus={needed}."
        )
    if isinstance(backend, OpenAIOptions) and backend.max_total_tokens is not None:
        return replace(backend, max_total_tokens=max(1, backend.max_total_tokens // options.workers))
    return backend
