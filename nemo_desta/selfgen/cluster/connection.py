"""Starting Ray, or reaching it, and looking whether it has room for the workers."""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nemo_desta.errors import ConfigError, SelfGenError
from nemo_desta.selfgen.cluster.options import RayOptions

__all__ = ["connected", "describe_free", "describe_wanted", "import_ray"]

_log = logging.getLogger(__name__)
_SPARE_CPUS = 2  # logical, beyond those of the workers
_STORE_BYTES = 128 * 2**20  # of shared memory; nothing but shard numbers goes through it
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that comes late must not start another Ray
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


def import_ray() -> Any:
    """The module `ray`, with `ray.data`, telling nobody and writing to its log files only.

    Raises:
        ConfigError: it is not installed.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as err:
        raise ConfigError(
            f"engine=ray wants Ray Data ({err.name} is not installed): pip install 'nemo-desta[ray]'; or run shard=i/n in as "
            "many processes as you like, then nemo-desta selfgen-merge."
        ) from err
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    for handler in logging.getLogger("ray.data").handlers:
        if handler.get_name() == "console":
            handler.setLevel(logging.CRITICAL)
    return ray


@contextmanager
def connected(ray: Any, options: RayOptions) -> Iterator[None]:
    """A cluster to work on; its processes, or the connection to it, end with the block.

    Raises:
        ConfigError: Ray is started in this process already, or this machine has no room for a single worker.
        SelfGenError: it cannot be started or reached.
    """
    if ray.is_initialized():
        raise ConfigError(
            "Ray is started in this process already; call ray.shutdown() first: engine=ray connects by itself, to ray.address."
        )
    try:
        _connect(ray, options)
        _check_room(ray, options)
        yield
    finally:
        ray.shutdown()


def _connect(ray: Any, options: RayOptions) -> None:
    settings: dict[str, Any] = {"address": options.address}
    if options.address is None:
        cpus = max(os.cpu_count() or 1, math.ceil(options.workers * options.num_cpus) + _SPARE_CPUS)
        settings = {
            "address": "local", "num_cpus": cpus, "include_dashboard": False, "object_store_memory": _STORE_BYTES,
        }  # fmt: skip
    try:
        with _no_stderr():  # Ray announces there that it read its log level
            ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **settings)
    except (OSError, ValueError, RuntimeError) as err:
        where = "started on this machine" if options.address is None else f"reached at ray.address={options.address}"
        raise SelfGenError(f"Ray cannot be {where}: {' '.join(str(err).split())[:500]}") from err


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Nothing reaches standard error, from whatever language."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _check_room(ray: Any, options: RayOptions) -> None:
    amounts = {"CPU": options.num_cpus, "GPU": options.num_gpus}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(int(min((n.get(k, 0) / v for k, v in amounts.items() if v), default=options.workers)) for n in nodes)
    if room >= options.workers:
        return
    message = f"the cluster has room for {room} of ray.workers={options.workers}; each wants {describe_wanted(options)}"
    if not room and options.address is None:
        raise ConfigError(f"{message}. Lower ray.num_cpus or ray.num_gpus, or give the address of a larger cluster.")
    _log.warning("%s. The others start when there is more.", message)


def describe_wanted(options: RayOptions) -> str:
    """What a worker reserves, for messages."""
    return f"{options.num_cpus:g} CPU and {options.num_gpus:g} GPU"


def describe_free(ray: Any) -> str:
    """What the cluster has left, for messages."""
    free = ray.available_resources()
    return f"{free.get('CPU', 0):g} CPU and {free.get('GPU', 0):g} GPU"
