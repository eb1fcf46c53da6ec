"""Small SVG graphics for the report: loss curves, and intervals on a scale. Colours come from the page's CSS."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from nemo_desta.ticks import nice_ticks

__all__ = ["interval_mark", "loss_chart"]

Point = tuple[float, float]
_WIDTH, _HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 14, 10, 34


def loss_chart(curves: Mapping[str, Sequence[Point]]) -> Markup:
    """Loss over steps; keys of `curves` are CSS classes: `train` is drawn with its running mean, others with dots."""
    points = [p for curve in curves.values() for p in curve]
    if not points:
        return Markup("")
    x_ticks = nice_ticks(0, max(x for x, _ in points))
    y_ticks = nice_ticks(min(y for _, y in points), max(y for _, y in points))
    to_x = _scale(x_ticks[0], x_ticks[-1], _LEFT, _WIDTH - _RIGHT)
    to_y = _scale(y_ticks[0], y_ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="Loss over training steps">').format(
            _WIDTH, _HEIGHT
        )
    ]
    for y in y_ticks:
        parts.append(_line(_LEFT, to_y(y), _WIDTH - _RIGHT, to_y(y), "grid"))
        parts.append(_text(_LEFT - 6, to_y(y) + 4, f"{y:g}", "end"))
    for x in x_ticks:
        parts.append(_text(to_x(x), _HEIGHT - _BOTTOM + 17, f"{x:g}", "middle"))
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 3, "step", "end"))
    for name, curve in curves.items():
        if name == "train":
            parts.append(_polyline([(to_x(x), to_y(y)) for x, y in curve], "train raw"))
            curve = _smoothed(curve)
        parts.append(_polyline([(to_x(x), to_y(y)) for x, y in curve], name))
        if name != "train":
            parts += [_dot(to_x(x), to_y(y), 3, name) for x, y in curve]
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def interval_mark(
    interval: Mapping[str, float | None],
    low: float = 0.0,
    high: float = 1.0,
    reference: float | None = None,
    style: str = "plain",
) -> Markup:
    """A dot with its interval as a bar on the scale from `low` to `high`; a tick marks `reference` (chance, say)."""
    if interval["value"] is None:
        return Markup('<span class="none">not defined</span>')
    to_x = _scale(low, high, 4, 116)

    def place(value: float) -> float:
        return min(max(to_x(value), 2), 118)

    parts = [
        Markup('<svg class="mark {}" viewBox="0 0 120 14" aria-hidden="true">').format(style),
        _line(4, 7, 116, 7, "scale"),
    ]
    if reference is not None:
        parts.append(_line(place(reference), 0.5, place(reference), 13.5, "chance"))
    if interval["low"] is not None and interval["high"] is not None:
        parts.append(_line(place(interval["low"]), 7, place(interval["high"]), 7, "bar"))
    parts += [_dot(place(interval["value"]), 7, 4, "dot"), Markup("</svg>")]
    return Markup("").join(parts)


def _scale(a: float, b: float, to_a: float, to_b: float):
    span = (b - a) or 1.0
    return lambda value: to_a + (value - a) / span * (to_b - to_a)


def _smoothed(curve: Sequence[Point]) -> list[Point]:
    """Mean over a window of a tenth of the curve, centred."""
    half = max(1, len(curve) // 20)
    out = []
    for i, (x, _) in enumerate(curve):
        around = [y for _, y in curve[max(0, i - half) : i + half + 1]]
        out.append((x, sum(around) / len(around)))
    return out


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(x1, y1, x2, y2, style)


def _polyline(points: Sequence[Point], style: str) -> Markup:
    return Markup('<polyline points="{}" class="line {}"/>').format(
        " ".join(f"{x:.1f},{y:.1f}" for x, y in points), style
    )


def _dot(x: float, y: float, radius: float, style: str) -> Markup:
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}" class="{}"/>').format(x, y, radius, style)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)
