"""The pictures of benchmarks.scaling: seconds and memory of a step against what grows."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from benchmarks.scaling import Point

__all__ = ["draw"]

Of = Callable[["Point", str], float]
_COLOURS = {"nemo_desta": "#1f6f8b", "plain": "#c0562f"}
_STYLE = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}


def draw(results: dict[str, list["Point"]], labels: dict[str, str], rate: float, path: Path) -> None:
    """Write `path` (seconds) and `<path>_memory` (GB).

    Args:
        results: points of each sweep.
        labels: of the horizontal axes.
        rate: operations a second of matrix products; makes the floor under the seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds: Of = lambda p, way: p.seconds[way]  # noqa: E731
    floor: Of = lambda p, way: p.operations[way] / rate  # noqa: E731
    _figure(results, labels, "seconds a step", seconds, floor, "operations at full rate", path)
    taken: Of = lambda p, way: p.bytes[way] / 1e9  # noqa: E731
    estimate: Of = lambda p, way: p.estimate[way] / 1e9  # noqa: E731
    name = path.with_name(f"{path.stem}_memory{path.suffix}")
    _figure(results, labels, "GB beyond the weights", taken, estimate, "estimated", name)


def _figure(results: dict, labels: dict, unit: str, of: Of, line: Of, line_name: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = min(3, len(results) + 1)
    rows = -(-(len(results) + 1) // columns)  # one place is for the legend
    with plt.rc_context(_STYLE):
        figure, grid = plt.subplots(
            rows, columns, figsize=(3.1 * columns, 2.6 * rows), layout="constrained", squeeze=False
        )
        axes = list(grid.flat)
        for number, (axis, (name, points)) in enumerate(zip(axes, results.items(), strict=False)):
            _panel(axis, points, of, line, line_name)
            axis.set(xlabel=labels[name], ylabel=unit if number % columns == 0 else "")
        _legend(figure, axes, len(results))
        figure.savefig(path, dpi=110)
        plt.close(figure)


def _panel(axis: "Axes", points: list, of: Of, line: Of, line_name: str) -> None:
    xs = [p.value for p in points]
    for way, colour in _COLOURS.items():
        axis.plot(xs, [of(p, way) for p in points], "o-", color=colour, label=f"{way}, measured", markersize=4)
        axis.plot(xs, [line(p, way) for p in points], ":", color=colour, label=f"{way}, {line_name}")
    axis.set_ylim(0, None)
    axis.set_xticks(xs, [f"{x:g}" for x in xs])
    axis.grid(axis="y", alpha=0.3)


def _legend(figure: "Figure", axes: list["Axes"], used: int) -> None:
    for axis in axes[used:]:
        axis.axis("off")
    handles, names = axes[0].get_legend_handles_labels()
    axes[used].legend(handles, names, frameon=False, loc="center left")
