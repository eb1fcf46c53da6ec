"""Figures that others published, each with its source: one YAML file a benchmark beside this module."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from nemo_desta.errors import ConfigError
from nemo_desta.evaluation.benchmarks import BENCHMARKS
from nemo_desta.evaluation.scores import ALL, Metric
from nemo_desta.schema import suggest

__all__ = ["PublishedRow", "figure_name", "published_rows"]

_FIELDS = ("source", "rule", "data_version", "verified", "columns", "rows")


@dataclass(frozen=True)
class PublishedRow:
    """A system's figures as somebody published them.

    Attributes:
        system: name.
        figures: by `figure_name`, in the unit of the metric of that name; what was not published is not there.
        source: repository or paper, table, commit or date.
        rule: how they were scored, as far as that is known.
        data_version: of the benchmark.
        verified: whether the figures were read in that source; False: known at second hand.
        note: what is odd about the row.
    """

    system: str
    figures: Mapping[str, float] = field(default_factory=dict)
    source: str = ""
    rule: str = ""
    data_version: str = ""
    verified: bool = False
    note: str = ""


def figure_name(metric: Metric) -> str:
    """How published figures are called: the metric's name, and its group unless it is "all"."""
    return metric.name if metric.group == ALL else f"{metric.name} {metric.group}"


def published_rows(benchmark: str, metric_names: Sequence[str] = ()) -> list[PublishedRow]:
    """Published rows of a benchmark, in the order of the tables.

    Args:
        metric_names: only rows that have one of these figures (see `figure_name`); empty: all.

    Raises:
        ConfigError: no such benchmark.
    """
    wanted = set(metric_names)
    return [row for row in _all(benchmark) if not wanted or wanted & set(row.figures)]


@cache
def _all(benchmark: str) -> tuple[PublishedRow, ...]:
    if benchmark not in BENCHMARKS:
        raise ConfigError(f"no benchmark {benchmark!r}{suggest(benchmark, BENCHMARKS)}")
    text = files(__package__).joinpath(f"{benchmark}.yaml").read_text(encoding="utf-8")
    return tuple(row for table in yaml.safe_load(text)["tables"] for row in _rows(table))


def _rows(table: Mapping[str, Any]) -> list[PublishedRow]:
    source, rule, version, verified, columns, rows = (table[name] for name in _FIELDS)
    notes = table.get("notes", {})
    made = []
    for system, *values in rows:
        figures = {c: float(v) for c, v in zip(columns, values, strict=True) if v is not None}
        made.append(PublishedRow(str(system), figures, source, rule, version, verified, notes.get(system, "")))
    return made
