"""Plots of the fan-out's stored results."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.comparison import Range
from benchmarks.engine.plots import bars
from benchmarks.fanout.results import Measurement, Result
from benchmarks.fanout.stages.cost import LABELS, Costs, Peers, Pipeline
from benchmarks.fanout.stages.idle import Idle
from benchmarks.fanout.stages.streams import Streams
from benchmarks.tables import environment_line

FILE = "fanout.png"


def reference(measurements: Sequence[Measurement]) -> str:
    """Markdown that shows the plot; nothing of nothing."""
    stages = ", ".join(each.stage for each in _shown(measurements))
    return f"![The fan-out: {stages}]({FILE})" if stages else ""


def plot_all(measurements: Sequence[Measurement], folder: Path) -> list[Path]:
    """Draws one file, a panel for each kind that was measured, and returns it; none of nothing."""
    shown = _shown(measurements)
    if not shown:
        return []
    figure = Figure(figsize=(5 * len(shown), 4), layout="constrained")
    for axes, measurement in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        _draw(axes, measurement.result)
        axes.set_title(measurement.stage, fontsize=10)
    figure.get_layout_engine().set(rect=(0, 0.04, 1, 0.96))  # type: ignore[union-attr,call-arg]
    figure.text(0.5, 0.01, environment_line(measurements[0].environment), ha="center", fontsize=5, color="0.4")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    figure.savefig(path, dpi=150)
    return [path]


def _shown(measurements: Sequence[Measurement]) -> list[Measurement]:
    return [each for each in measurements if isinstance(each.result, Peers | Pipeline | Streams | Idle)]


def _draw(axes: Axes, result: Result) -> None:
    match result:
        case Peers() | Pipeline():
            draw_costs(axes, result)
        case Streams():
            draw_delays(axes, result)
        case Idle():
            draw_memory(axes, result)


def draw_costs(axes: Axes, costs: Costs) -> None:
    """A bar for each way to write; the whiskers are the extremes over rounds."""
    bars(axes, {way: Range.of([each[way] * 1e6 for each in costs.rounds]) for way in costs.ways})
    axes.set(ylabel=f"µs of CPU an event of {costs.event_bytes:,} bytes")
    axes.set_xticks(range(len(costs.ways)), [_wrapped(LABELS[way]) for way in costs.ways], fontsize=6)


def draw_delays(axes: Axes, streams: Streams) -> None:
    """The share of previews that had arrived within a time."""
    axes.plot([delay * 1000 for delay in streams.quantiles], [percent / 100 for percent in range(101)])
    axes.set(xlabel="ms from the worker to the client", ylabel="share of previews", xscale="log", ylim=(0, 1.02))


def draw_memory(axes: Axes, idle: Idle) -> None:
    for label, points in (("of one generation", idle.watchers), ("each of its own", idle.with_generation)):
        axes.plot([p.streams for p in points], [p.resident_kib / 1024 for p in points], marker="o", label=label)
    axes.set(xlabel="idle streams", ylabel="resident memory of the service, MiB", ylim=(0, None))
    axes.legend(fontsize=8)


def _wrapped(label: str) -> str:
    return label.replace("`", "").replace(", ", ",\n").replace(" of ", "\nof ")
