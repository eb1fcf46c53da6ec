"""Numbers of the report as text, and as bars on a common scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from nemo_desta.evaluation.published import figure_name
from nemo_desta.evaluation.report.runs import Run
from nemo_desta.evaluation.report.sections import Section
from nemo_desta.evaluation.scores import ALL, Metric

__all__ = ["Bar", "Chart", "charts", "figure", "interval", "number", "signed"]

_MOST_LINES = 60
_SCALES = {"%": (0.0, 100.0), "1-5": (1.0, 5.0)}


def number(value: float | None, digits: int = 2) -> str:
    """With a true minus; a dash for what is not defined."""
    return "–" if value is None or isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 1) -> str:
    """With its sign."""
    return number(value, digits) if value is None or isnan(value) or value < 0 else f"+{number(value, digits)}"


def interval(low: float, high: float, digits: int = 1) -> str:
    """`low to high`; nothing where it is not defined."""
    return "" if isnan(low) or isnan(high) else f"{number(low, digits)} to {number(high, digits)}"


def figure(run: Run, name: str) -> Metric | None:
    """A run's metric by `figure_name`."""
    return next((m for m in run.scores.metrics if figure_name(m) == name), None)


@dataclass(frozen=True)
class Bar:
    """One run's value in one group; places are percent of the chart's width.

    Attributes:
        label: of the run.
        place: its number among the runs, for the colour.
        fill: width of the bar.
        left, width: of the interval; None where it is not defined.
        chance: where guessing stands; None where that has no meaning.
        text, range, n: value, interval and items.
    """

    label: str
    place: int
    fill: float
    left: float | None
    width: float | None
    chance: float | None
    text: str
    range: str
    n: int


@dataclass(frozen=True)
class Chart:
    """The groups of one key.

    Attributes:
        title: metric and key.
        low, high: ends of the scale, as text.
        lines: (group, bars of the runs).
        chance: whether there is a tick for it.
        more: groups that are not shown.
    """

    title: str
    low: str
    high: str
    lines: tuple[tuple[str, tuple[Bar, ...]], ...]
    chance: bool
    more: int


def charts(section: Section) -> list[Chart]:
    """Bars by group for each metric and key that the main run has."""
    made = []
    for name, key in dict.fromkeys((m.name, _key(m)) for m in section.main.scores.metrics if m.group != ALL):
        groups = [m for m in section.main.scores.metrics if m.name == name and m.group != ALL and _key(m) == key]
        scale = _scale(section.runs, groups)
        lines = tuple((_value(m), tuple(_bars(section.runs, m, scale))) for m in groups[:_MOST_LINES])
        ticks = any(bar.chance is not None for _, bars in lines for bar in bars)
        made.append(Chart(f"{name} by {key}", f"{scale[0]:g}", f"{scale[1]:g}", lines, ticks, len(groups) - len(lines)))
    return made


def _key(metric: Metric) -> str:
    return metric.group.partition("=")[0]


def _value(metric: Metric) -> str:
    return metric.group.partition("=")[2] or metric.group


def _scale(runs: Sequence[Run], groups: Sequence[Metric]) -> tuple[float, float]:
    found = [m for r in runs for g in groups if (m := r.scores.find(g.name, g.group)) is not None]
    low, high = _SCALES.get(groups[0].unit, (0.0, 0.0))
    ends = [v for m in found for v in (m.value, m.low, m.high) if not isnan(v)]
    low, high = min([low, *ends]), max([high, *ends])
    return low, high if high > low else low + 1


def _bars(runs: Sequence[Run], metric: Metric, scale: tuple[float, float]) -> list[Bar]:
    made = []
    for place, run in enumerate(runs):
        found = run.scores.find(metric.name, metric.group)
        if found is not None:
            made.append(_bar(run.label, place, found, scale))
    return made


def _bar(label: str, place: int, metric: Metric, scale: tuple[float, float]) -> Bar:
    def to_x(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - scale[0]) / (scale[1] - scale[0]))), 2)

    defined = not isnan(metric.low) and not isnan(metric.high)
    left = to_x(metric.low) if defined else None
    return Bar(
        label, place, 0.0 if isnan(metric.value) else to_x(metric.value), left,
        None if left is None else round(to_x(metric.high) - left, 2),
        None if metric.chance is None or isnan(metric.chance) else to_x(metric.chance), number(metric.value),
        interval(metric.low, metric.high), metric.n,
    )  # fmt: skip
