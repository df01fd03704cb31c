"""Plots of the stored results, a panel for each subject."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.engine.plots import range_points
from benchmarks.gpu.limits import BEST_PUBLISHED, STEPS
from benchmarks.gpu.rungs import RUNGS
from benchmarks.gpu.stages import previews
from benchmarks.gpu.store import GpuResults, Point, Subject
from benchmarks.tables import environment_line

Draw = Callable[[Axes, Sequence[Point]], None]


def plot_all(results: GpuResults, folder: Path) -> list[Path]:
    """Draws `gpu-<name>.png` for what was measured, and returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [_plot(results, name, stage, draw, folder) for name, (stage, draw) in PLOTS.items()]
    return [path for path in drawn if path is not None]


def draw_curve(axes: Axes, points: Sequence[Point]) -> None:
    """Images a second of the UNet alone by rows; a line for each size, solid as it is and dashed when compiled."""
    for rung, style in (("eager", "-o"), ("compile", "--s")):
        for index, side in enumerate(sorted({int(each.what["side"]) for each in points})):
            if chosen := _newest(points, side, rung):
                rows, speeds = [_shape(each)[1] for each in chosen], range_points([_speeds(each) for each in chosen])
                label = f"{side}x{side}, {rung}"
                axes.errorbar(rows, *speeds, fmt=style, color=f"C{index}", capsize=2, label=label)
    axes.set(xscale="log", xlabel="UNet rows in the step", ylim=(0, None))
    axes.set_ylabel(f"images/s of {STEPS} steps, UNet alone")
    axes.legend(fontsize=7)


def draw_ladder(axes: Axes, points: Sequence[Point]) -> None:
    """Times as fast as eager, for the sizes and rows that have several rungs."""
    shapes = sorted({_shape(each) for each in points if each.what["rung"] != "eager" and each.figures})
    names = [name for name in RUNGS if any(each.what["rung"] == name and each.figures for each in points)]
    for index, shape in enumerate(shapes):
        newest = {str(each.what["rung"]): each for each in points if _shape(each) == shape and each.figures}
        ground = newest["eager"].median("seconds") if "eager" in newest else None
        speeds = [ground / newest[name].median("seconds") if ground and name in newest else 0.0 for name in names]
        height = 0.8 / len(shapes)
        places = [place + index * height for place in range(len(names))]
        axes.barh(places, speeds, height=height, label=f"{shape[0]}x{shape[0]}, {shape[1]} rows")
    axes.set(yticks=range(len(names)), yticklabels=names, xlabel="times as fast as eager")
    axes.invert_yaxis()
    axes.legend(fontsize=7)


def draw_previews(axes: Axes, points: Sequence[Point]) -> None:
    """What pictures and previews take of the throughput."""
    chosen = [each for each in points if each.what["work"] == "cost"]
    some = [each for each in chosen if each.what["kind"] != previews.NOTHING]
    labels = [f"{each.what['side']}: {each.what['kind']}" for each in some]
    middles, whiskers = range_points([[share * 100 for share in previews.cost(each, chosen)] for each in some])
    axes.barh(labels, middles, xerr=whiskers, capsize=2)
    axes.invert_yaxis()
    axes.set_xlabel("% of the throughput")
    axes.tick_params(axis="y", labelsize=7)


def draw_serve(axes: Axes, points: Sequence[Point]) -> None:
    """Latencies by throughput under an open load, in step mode: p50 solid, p99 dashed."""
    chosen = [each for each in points if _is_open_load(each)]
    for index, kind in enumerate(sorted({_kind(each) for each in chosen})):
        loads = sorted((each for each in chosen if _kind(each) == kind), key=_throughput)
        for name, marker in (("first preview", "o"), ("end to end", "s")):
            for which, line in (("p50", "-"), ("p99", "--")):
                values = [each.median(f"{name} {which}") for each in loads]
                label = f"{kind[0]}x{kind[0]}, {kind[1]} steps, {name} {which}"
                axes.plot([_throughput(p) for p in loads], values, f"{line}{marker}", color=f"C{index}", label=label)
    axes.axvline(BEST_PUBLISHED, color="0.6", linestyle=":", label="best published, 1024x1024 (FP8)")
    axes.set(xlabel=f"images/s, counted as of {STEPS} steps", ylabel="s", yscale="log", xlim=(0, None))
    axes.legend(fontsize=7)


PLOTS: dict[str, tuple[str, Draw]] = {
    "curve": ("steps", draw_curve),
    "ladder": ("steps", draw_ladder),
    "previews": ("previews", draw_previews),
    "serve": ("serve", draw_serve),
}
"""Each of a stage's points."""


def _speeds(point: Point) -> list[float]:
    """Images a second, by round."""
    return [_shape(point)[1] / 2 / STEPS / seconds for seconds in point.figures["seconds"]]


def _is_open_load(point: Point) -> bool:
    what = point.what
    return what["mode"] == "step" and bool(what["share"]) and "end to end p99" in point.figures


def _kind(point: Point) -> tuple[int, str]:
    return int(point.what["side"]), str(point.what["steps"])


def _throughput(point: Point) -> float:
    """Images of `STEPS` steps a second, that have as many steps as were made."""
    steps = fmean(int(each) for each in str(point.what["steps"]).split(", "))
    return point.median("images a second") * steps / STEPS


def _newest(points: Sequence[Point], side: int, rung: str) -> list[Point]:
    """Of one size and rung, by rows."""
    chosen = {int(p.what["rows"]): p for p in points if p.what["side"] == side and p.what["rung"] == rung and p.figures}
    return [chosen[rows] for rows in sorted(chosen)]


def _shape(point: Point) -> tuple[int, int]:
    return int(point.what["side"]), int(point.what["rows"])


def _plot(results: GpuResults, name: str, stage: str, draw: Draw, folder: Path) -> Path | None:
    subjects = results.subjects(stage)
    if not subjects:
        return None
    figure = Figure(figsize=(7 * len(subjects), 4.5), layout="constrained")
    for axes, subject in zip(figure.subplots(1, len(subjects), squeeze=False)[0], subjects, strict=True):
        draw(axes, results.points(stage, subject))
        axes.set_title(subject.line(), fontsize=8)
    figure.supxlabel(_machine(results, stage, subjects[0]), fontsize=5, color="0.4")
    path = folder / f"gpu-{name}.png"
    figure.savefig(path, dpi=150)
    return path


def _machine(results: GpuResults, stage: str, subject: Subject) -> str:
    run = next(each.run for each in results.entries[::-1] if each.stage == stage and each.subject == subject)
    return environment_line(results.runs[run].environment)
