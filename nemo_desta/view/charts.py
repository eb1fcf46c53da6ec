"""Distributions as bars: tables of horizontal ones in HTML, a histogram in SVG. Colours come from the page's CSS."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from nemo_desta.ticks import nice_ticks
from nemo_desta.view.sampling import VERDICTS

__all__ = ["Bar", "bars", "histogram", "top"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 180, 48, 36, 14


@dataclass(frozen=True)
class Bar:
    """One line of a bar chart.

    Attributes:
        label: what is counted.
        parts: (CSS class, share of the chart's width in percent).
        count: the sum.
    """

    label: str
    parts: tuple[tuple[str, float], ...]
    count: int


def bars(counts: Mapping[str, Mapping[str, int]], most: int = 12) -> list[Bar]:
    """The largest groups, each split by verdict; the others together in a last line, which has no bar."""
    ranked = sorted(counts.items(), key=lambda x: (-sum(x[1].values()), x[0]))
    shown, rest = ranked[:most], ranked[most:]
    widest = max((sum(split.values()) for _, split in shown), default=1)
    lines = [
        Bar(label, tuple((v, round(100 * split[v] / widest, 2)) for v in split if split[v]), sum(split.values()))
        for label, split in shown
    ]
    return lines + [Bar(f"{len(rest)} others", (), sum(sum(split.values()) for _, split in rest))] * bool(rest)


def top(counts: Mapping[str, int], style: str, most: int = 12) -> list[Bar]:
    """The same for counts that are not split."""
    return bars({label: {style: count} for label, count in counts.items()}, most)


def histogram(counts: Mapping[str, Mapping[int, int]], unit: str) -> Markup:
    """Stacked columns of whole numbers, verdicts in their colours; the longest 0.5 % stand in the last column."""
    total: Counter[int] = Counter()
    for split in counts.values():
        total.update(split)
    if not total:
        return Markup("")
    limit = _percentile(total, 0.995)
    step = max(1, next(s for s in (1, 2, 4, 5, 10, 20, 25, 50, 100) if (limit + 1) / s <= 40))
    number = limit // step + 1
    columns = [dict.fromkeys(VERDICTS, 0) for _ in range(number)]
    for verdict, split in counts.items():
        for value, count in split.items():
            columns[min(value // step, number - 1)][verdict] += count
    return _draw(columns, step, unit, max(total) > limit)


def _percentile(counts: Mapping[int, int], share: float) -> int:
    left = share * sum(counts.values())
    for value in sorted(counts):
        left -= counts[value]
        if left <= 0:
            return value
    return max(counts)


def _draw(columns: list[dict[str, int]], step: int, unit: str, cut: bool) -> Markup:
    y_ticks = nice_ticks(0, max(sum(c.values()) for c in columns), 4)
    width, height = (_WIDTH - _LEFT - 8) / len(columns), _HEIGHT - _BOTTOM - _TOP
    scale = height / y_ticks[-1]
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="Length of responses in {}">').format(
            _WIDTH, _HEIGHT, unit
        )
    ]
    for tick in y_ticks:
        y = _TOP + height - tick * scale
        parts.append(
            Markup('<line x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}" class="grid"/>').format(_LEFT, y, _WIDTH - 8, y)
        )
        parts.append(_text(_LEFT - 6, y + 4, f"{tick:,.0f}" if tick == round(tick) else "", "end"))
    for place, column in enumerate(columns):
        bottom = _TOP + height
        for verdict in VERDICTS:
            tall = column[verdict] * scale
            bottom -= tall
            if tall:
                shape = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="{}"/>')
                parts.append(
                    shape.format(_LEFT + place * width + 0.5, bottom, max(width - 1, 0.5), tall, f"v-{verdict}")
                )
    last = len(columns) * step
    for tick in nice_ticks(0, last, 8):
        if tick <= last and tick == round(tick):
            parts.append(_text(_LEFT + tick / step * width, _HEIGHT - _BOTTOM + 16, f"{tick:g}", "middle"))
    note = f"{unit} (longer ones in the last column)" if cut else unit
    parts += [_text(_WIDTH - 8, _HEIGHT - 2, note, "end"), Markup("</svg>")]
    return Markup("").join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)
