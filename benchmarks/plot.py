"""Plots stored results, on any machine: `python -m benchmarks.plot RESULT.json [-o PLOT.png]`."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.comparison import Comparison, Figures, Range
from benchmarks.results import LoadResult, Sample
from benchmarks.soak.results import WARM_UP_SHARE, SoakResult
from benchmarks.tables import environment_line


def plot(stored: Path, output: Path) -> None:
    """Draws a stored load run, comparison or run of mixed traffic into a PNG file."""
    result = msgspec.json.decode(stored.read_bytes(), type=LoadResult | Comparison | SoakResult)
    match result:
        case LoadResult():
            figure = plot_load(result)
        case Comparison():
            figure = plot_comparison(result)
        case SoakResult():
            figure = plot_soak(result)
    figure.text(0.5, 0.01, environment_line(result.environment), ha="center", fontsize=6, color="0.4")
    figure.savefig(output, dpi=150)


def plot_load(result: LoadResult) -> Figure:
    """Left: the share of requests within a latency. Right: each request's latencies by when it was meant to leave."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    shares, course = figure.subplots(1, 2)
    finished = [sample for sample in result.samples if sample.error is None]
    with_previews = [sample for sample in finished if sample.previews]
    _latencies(shares, course, "first preview", with_previews, lambda sample: sample.previews[0])
    _latencies(shares, course, "end to end", finished, lambda sample: sample.ended)
    shares.set(xlabel="latency in s", ylabel="share of requests", xlim=(0, None), ylim=(0, 1))
    course.set(xlabel="intended send in s", ylabel="latency in s", ylim=(0, None))
    if finished:
        shares.legend()
    load = f"{result.rate} requests/s" if result.rate else f"{result.clients} clients"
    figure.suptitle(f"{result.name}: {load}, {result.summary.images_per_second:.2f} images/s")
    figure.get_layout_engine().set(rect=(0, 0.04, 1, 0.96))  # type: ignore[union-attr,call-arg]
    return figure


def plot_comparison(result: Comparison) -> Figure:
    """A panel for each figure, a bar for each way to serve; the whiskers are the extremes over rounds."""
    panels: list[tuple[str, Callable[[Figures], Range | None]]] = [
        ("images/s", lambda figures: figures.images_per_second),
        ("first preview p50, s", lambda figures: figures.first_preview_p50),
        ("end to end p50, s", lambda figures: figures.end_to_end_p50),
        ("end to end p99, s", lambda figures: figures.end_to_end_p99),
    ]
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    for axes, (title, pick) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        ranges = {mode: chosen for mode, figures in result.figures.items() if (chosen := pick(figures))}
        _bars(axes, title, ranges)
    figure.suptitle(f"{result.name}: {result.clients} clients, {result.dtype}")
    figure.get_layout_engine().set(rect=(0, 0.04, 1, 0.96))  # type: ignore[union-attr,call-arg]
    return figure


def plot_soak(result: SoakResult) -> Figure:
    """Left: how many requests ended so far, by how. Right: memory; the vertical line is where the warm-up ends."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    ends, memory = figure.subplots(1, 2)
    for outcome in dict.fromkeys(ending.outcome for ending in result.endings):
        times = sorted(ending.at for ending in result.endings if ending.outcome == outcome)
        ends.step([0.0, *times], range(len(times) + 1), where="post", label=f"{outcome}: {len(times)}")
    ends.set(xlabel="s", ylabel="requests ended", ylim=(0, None))
    ends.legend()
    times = [sample.at for sample in result.memory]
    memory.plot(times, [sample.service_mib for sample in result.memory], label="service")
    memory.plot(times, [sample.worker_mib for sample in result.memory], label="worker")
    memory.axvline(WARM_UP_SHARE * result.seconds, color="0.7", linewidth=1)
    memory.set(xlabel="s", ylabel="resident memory, MiB", ylim=(0, None))
    memory.legend()
    figure.suptitle(f"{len(result.endings)} requests of {result.plan.clients} clients, {len(result.problems)} problems")
    figure.get_layout_engine().set(rect=(0, 0.04, 1, 0.96))  # type: ignore[union-attr,call-arg]
    return figure


def _latencies(
    shares: Axes, course: Axes, label: str, samples: Sequence[Sample], latency: Callable[[Sample], float]
) -> None:
    if not samples:
        return
    shares.ecdf([latency(sample) for sample in samples], label=label)
    course.scatter([sample.intended for sample in samples], [latency(sample) for sample in samples], s=8, label=label)


def _bars(axes: Axes, title: str, ranges: dict[str, Range]) -> None:
    middles = np.array([r.median for r in ranges.values()])
    whiskers = np.array([(r.median - r.min, r.max - r.median) for r in ranges.values()]).reshape(-1, 2).T
    bars = axes.bar(list(ranges), middles, yerr=whiskers, capsize=3, color=[f"C{i}" for i in range(len(ranges))])
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=7)
    axes.set_title(title, fontsize=9)
    axes.margins(y=0.15)


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.plot", description=__doc__)
    parser.add_argument("result", type=Path, help="what --json stored")
    parser.add_argument("-o", "--output", type=Path, help="PNG file (the result's name with .png)")
    options = parser.parse_args()
    output = options.output or options.result.with_suffix(".png")
    plot(options.result, output)
    print(output)


if __name__ == "__main__":
    main()
