"""The whole of `engine=ray`: check, deal out what is missing, merge."""

import json
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from nemo_desta.files import lock_directory
from nemo_desta.selfgen.backends import Backend
from nemo_desta.selfgen.backends.engines import Engines
from nemo_desta.selfgen.backends.options import BackendOptions
from nemo_desta.selfgen.cluster.connection import connected, import_ray
from nemo_desta.selfgen.cluster.deal import Deal
from nemo_desta.selfgen.cluster.options import RayOptions, backend_of_worker
from nemo_desta.selfgen.cluster.worker import shard_config
from nemo_desta.selfgen.config import SelfGenConfig
from nemo_desta.selfgen.engine import Run
from nemo_desta.selfgen.merge import merge_shards
from nemo_desta.selfgen.summary import Summary

__all__ = ["run_on_ray"]

_SHARDS_PER_WORKER = 8  # so that workers that end early wait for a small part only


def run_on_ray(config: SelfGenConfig, backend: BackendOptions | Backend) -> Summary:
    """Self-generation by several workers.

    Args:
        config: checked, without `shard`.
        backend: settings of an engine, or a small engine that can be sent to the workers.

    Returns:
        The summary of all shards, merged.

    Raises:
        ConfigError: Ray is missing, or a setting is wrong.
        SelfGenError: the directory is in use or was begun with another configuration, a worker met an error, or the
            cluster does not do the work. Finished rows stay.
    """
    options = RayOptions.parse(config.ray)
    backend = backend_of_worker(backend, options)
    ray = import_ray()
    output, started = Path(config.output_dir), time.monotonic()
    number = _num_shards(options, output)
    results: list[dict[str, Any]] = []
    with lock_directory(output, "-ray"):
        first = Run(
            shard_config(config, 0, number), Engines(config, backend)
        )  # the user's mistakes show before Ray is started
        first.check_directory()
        merged = (output / "summary.json").is_file()
        todo = [] if merged else [i for i in range(number) if not _is_finished(output, shard_config(config, i, number))]
        if todo:
            cuts, draws = len(first.source), config.prompts_per_cut
            left = sum((i + 1) * cuts // number - i * cuts // number for i in todo)
            with connected(ray, options):
                results = Deal(ray, options, config, backend, number).run(todo, (cuts - left) * draws, cuts * draws)
        summary = merge_shards(output)
    return replace(
        summary,
        seconds=round(time.monotonic() - started, 3),
        new_rows=sum(r["new_rows"] for r in results),
        new_tokens=sum(r["new_tokens"] for r in results),
    )


def _num_shards(options: RayOptions, output: Path) -> int:
    """As many as the directory was begun with: another number of workers may continue it."""
    if options.shards is None:
        with suppress(OSError, ValueError):  # there is none, or one that `check_directory` refuses
            begun = json.loads((output / "manifest.json").read_text(encoding="utf-8"))["num_shards"]
            if begun > 1:
                return begun
    return options.shards or _SHARDS_PER_WORKER * options.workers


def _is_finished(output: Path, config: SelfGenConfig) -> bool:
    return (output / f"summary{config.suffix}.json").is_file() and (output / f"{config.stem}.jsonl").is_file()
