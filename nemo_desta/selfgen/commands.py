"""What the `nemo-desta prompts` verbs do."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from nemo_desta.errors import ConfigError
from nemo_desta.selfgen.config import find_config
from nemo_desta.selfgen.pool_stats import import_pool, pool_stats
from nemo_desta.selfgen.prompts import KINDS, PromptPool

__all__ = ["prompts_import", "prompts_stats"]


def prompts_stats(pools: Sequence[str], json_file: str | None) -> None:
    """Print the figures of some pools taken together, and write them as JSON."""
    stats = pool_stats(PromptPool.from_yaml([find_config("prompts", p) for p in pools]))
    click.echo(str(stats))
    if json_file:
        Path(json_file).write_text(json.dumps(stats.to_dict(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def prompts_import(records: str, output: str, name: str | None, kind: str, domains: Sequence[str]) -> None:
    """Make a pool of the prompts of a JSONL and say what became of them.

    Raises:
        ConfigError: an unknown kind or domain, a file that is there already, or no usable prompt.
    """
    if kind not in KINDS:
        raise ConfigError(f"--kind {kind!r}: use one of {', '.join(KINDS)}.")
    wrong = sorted(set(domains) - {"speech", "sound", "music"})
    if wrong:
        raise ConfigError(f"--domain {', '.join(wrong)}: there are speech, sound and music.")
    if Path(output).exists():
        raise ConfigError(f"{output}: is there already; remove it, or give another name.")
    counts = import_pool(records, output, name or Path(output).stem, kind, domains)
    click.echo(
        f"{output}: {counts['prompts']} distinct prompts of {counts['records']} records "
        f"({counts['betraying']} left out for betraying words, {counts['without']} records without a prompt)"
    )
