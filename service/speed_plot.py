"""Draws a measured speed; the only module of the service that needs matplotlib."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.speed import SizeSpeed, Speed


def plot(speed: Speed, output: Path) -> None:
    """Left: a step's time by its rows, for each size. Right: rows a second, with the knee (circle) and the cap (bar).

    Dots were measured; the lines are what is foreseen from them.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    times, rates = figure.subplots(1, 2)
    for size in speed.sizes:
        _draw(size, times, rates)
    times.axhline(speed.max_step_seconds * 1000, color="0.6", linewidth=0.8, linestyle="--")
    times.set(xlabel="UNet rows", ylabel="ms a step", xscale="log", yscale="log")
    rates.set(xlabel="UNet rows", ylabel="rows a second", xscale="log", ylim=(0, None))
    rates.legend()
    ticks = sorted({step.rows for size in speed.sizes for step in size.measured})
    for axes in (times, rates):
        axes.set_xticks(ticks, [str(rows) for rows in ticks])
        axes.minorticks_off()
    figure.suptitle(f"{speed.model} on {speed.device} in {speed.dtype}")
    figure.savefig(output, dpi=150)


def _draw(size: SizeSpeed, times: Axes, rates: Axes) -> None:
    rows = range(1, len(size.foreseen) + 1)
    foreseen = [count / seconds for count, seconds in zip(rows, size.foreseen, strict=True)]
    measured = [step.rows for step in size.measured]
    label = f"{size.width}x{size.height}: knee {size.knee}, cap {size.max_rows}"
    (line,) = rates.plot(rows, foreseen, label=label)
    colour = line.get_color()
    rates.scatter(measured, [step.rows_per_second for step in size.measured], s=12, color=colour)
    for mark, count in (("o", size.knee), ("|", size.max_rows)):
        rates.plot(count, foreseen[count - 1], marker=mark, markersize=12, fillstyle="none", color=colour)
    times.plot(rows, [seconds * 1000 for seconds in size.foreseen], color=colour)
    times.scatter(measured, [step.seconds * 1000 for step in size.measured], s=12, color=colour)
