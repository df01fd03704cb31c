"""Plots of the engine's stored results, a panel for each dtype."""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.comparison import Range
from benchmarks.engine.results import Measurement, Result
from benchmarks.engine.stages.curve import Curve, Point
from benchmarks.engine.stages.mixed import Mixed
from benchmarks.engine.stages.overhead import Overhead
from benchmarks.engine.stages.previews import Previews
from benchmarks.engine.stages.saturation import Saturation
from benchmarks.tables import environment_line

Kind = TypeVar("Kind", bound=Result)


def plot_all(measurements: Sequence[Measurement], folder: Path) -> list[Path]:
    """Draws `engine-<name>.png` for each kind that was measured, and returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = [
        _plot("curve", Curve, draw_curve, measurements, folder),
        _plot("saturation", Saturation, draw_saturation, measurements, folder),
        _plot("profile", Overhead, draw_profile, measurements, folder, height=2.5),
        _plot("previews", Previews, draw_previews, measurements, folder),
        _plot("mixed", Mixed, draw_mixed, measurements, folder),
    ]
    return [path for path in plots if path is not None]


def draw_curve(axes: Axes, curve: Curve) -> None:
    """Time of a row by rows in the step: crosses as measured, lines as predicted; dots at the knee, bars at the cap."""
    for index, size in enumerate(curve.sizes):
        points = [point for point in curve.points if point.size == size.size]
        rows, predicted = [point.rows for point in points], [_ms_a_row(point, point.predicted) for point in points]
        colour = f"C{index}"
        measured = range_points([[_ms_a_row(point, each) for each in point.measured] for point in points])
        axes.errorbar(rows, *measured, fmt="x", color=colour, capsize=2)
        axes.plot(
            rows, predicted, color=colour, label=f"{size.size}x{size.size}: knee {size.knee}, cap {size.max_rows}"
        )
        for at, marker in ((size.knee, "o"), (size.max_rows, "|")):
            axes.plot(at, np.interp(at, rows, predicted), marker, color=colour, markersize=12, fillstyle="none")
    axes.set(xlabel="UNet rows in the step", ylabel="ms a row", xlim=(0, None), ylim=(0, None))
    axes.legend(fontsize=8)


def draw_saturation(axes: Axes, result: Saturation) -> None:
    speeds = {
        "bound": [each.bound for each in result.rounds],
        "engine": [each.engine for each in result.rounds],
        "lone pipeline": [each.pipeline for each in result.rounds],
    }
    bars(axes, {name: Range.of(values) for name, values in speeds.items()})
    axes.set_ylabel("images/s")


def draw_profile(axes: Axes, result: Overhead) -> None:
    """One bar from left to right: a step at saturation, previews and pictures included."""
    began = 0.0
    for index, (stage, seconds) in enumerate(result.profile.items()):
        milliseconds = seconds * 1000
        label = f"{stage}: {milliseconds:.1f} ms"
        axes.barh(0, milliseconds, left=began, color=f"C{index}", label=label)
        began += milliseconds
    axes.set(xlabel="ms of a step", yticks=[], ylim=(-0.5, 3))
    axes.legend(fontsize=8, ncols=2, loc="upper center")


def draw_previews(axes: Axes, result: Previews) -> None:
    bars(axes, {kind: Range.of([result.count / each for each in times]) for kind, times in result.seconds.items()})
    axes.set_ylabel("images/s")
    axes.tick_params(axis="x", labelsize=7, rotation=15)


def draw_mixed(axes: Axes, result: Mixed) -> None:
    """Boxes hold the middle half of the requests, whiskers reach to the first and the 99th percentile."""
    labels = [f"{size.width}x{size.height}\n{len(size.latencies)} requests" for size in result.sizes]
    axes.boxplot([size.latencies for size in result.sizes], tick_labels=labels, whis=(1, 99))
    axes.set(ylabel="s from arrival to picture", ylim=(0, None))
    axes.tick_params(axis="x", labelsize=7)


def bars(axes: Axes, ranges: dict[str, Range]) -> None:
    """Medians, with the extremes as whiskers."""
    heights, whiskers = [each.median for each in ranges.values()], _whiskers(list(ranges.values()))
    drawn = axes.bar(list(ranges), heights, yerr=whiskers, capsize=3, color=[f"C{i}" for i in range(len(ranges))])
    axes.bar_label(drawn, fmt="%.2f", padding=3, fontsize=8)
    axes.margins(y=0.15)


def range_points(values: Sequence[Sequence[float]]) -> tuple[list[float], np.ndarray]:
    """Medians, and how far below and above them the extremes lie."""
    ranges = [Range.of(each) for each in values]
    return [each.median for each in ranges], _whiskers(ranges)


def _whiskers(ranges: Sequence[Range]) -> np.ndarray:
    return np.array([(each.median - each.min, each.max - each.median) for each in ranges]).reshape(-1, 2).T


def _ms_a_row(point: Point, seconds: float) -> float:
    return seconds * 1000 / point.rows


def _plot(
    name: str,
    kind: type[Kind],
    draw: Callable[[Axes, Kind], None],
    measurements: Sequence[Measurement],
    folder: Path,
    height: float = 4.5,
) -> Path | None:
    chosen = [(each, each.result) for each in measurements if isinstance(each.result, kind)]
    if not chosen:
        return None
    figure = Figure(figsize=(7 * len(chosen), height), layout="constrained")
    for axes, (measurement, result) in zip(figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        draw(axes, result)
        axes.set_title(f"{measurement.model}, {measurement.dtype}", fontsize=10)
    footer = textwrap.fill(environment_line(chosen[0][0].environment), 120 * len(chosen))
    figure.supxlabel(footer, fontsize=5, color="0.4")
    path = folder / f"engine-{name}.png"
    figure.savefig(path, dpi=150)
    return path
