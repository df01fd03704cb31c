"""The step-time curve as calibrated at start-up, against a careful measurement of the same steps."""

import random
from statistics import median

import msgspec
import numpy as np

from benchmarks.comparison import Range
from benchmarks.engine.goals import Goal
from benchmarks.engine.pace import Pace
from benchmarks.engine.workbench import Workbench
from benchmarks.tables import table
from scheduler.engine import StepOutput
from scheduler.messages import StepTime
from scheduler.request import Request, Status

SIZES = (0.75, 1.0, 1.25)
"""Sides, as parts of the model's own."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A step of `rows` rows of a square of `size` pixels: seconds as measured, one a round, and as predicted."""

    size: int
    rows: int
    measured: list[float]
    predicted: float

    @property
    def median(self) -> float:
        return median(self.measured)

    @property
    def error(self) -> float:
        """Of the measured seconds; positive where the prediction is too long."""
        return self.predicted / self.median - 1


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What the cost model makes of a square of `size` pixels, in rows."""

    size: int
    knee: int
    max_rows: int


class Curve(msgspec.Struct, frozen=True, kw_only=True, tag="curve"):
    calibrated: list[StepTime]
    sizes: list[Size]
    points: list[Point]

    @property
    def goals(self) -> list[Goal]:
        errors = [abs(point.error) for point in self.points]
        return [Goal("predicted step times, off by", Range.of(errors), unit="%")]

    def table(self) -> str:
        rows = [
            (
                f"{point.size}x{point.size}",
                str(point.rows),
                f"{point.median * 1000:.1f}",
                f"{point.predicted * 1000:.1f}",
                f"{point.error:+.1%}",
            )
            for point in self.points
        ]
        caps = ", ".join(f"{size.size}x{size.size} {size.knee} and {size.max_rows}" for size in self.sizes)
        header = ("size", "rows", "measured, ms", "predicted, ms", "error")
        return "\n".join([table(header, rows), "", f"Knee and cap in rows: {caps}."])


def measure(bench: Workbench, pace: Pace, *, repeats: int = 2) -> Curve:
    """Points in an order of their own in each round, so that no slow moment always hits the same ones."""
    info, cost = bench.engine.info, bench.cost
    sizes = [int(bench.size * part) // info.size_multiple * info.size_multiple for part in SIZES]
    points = {(size, rows): list[float]() for size in sizes for rows in row_counts(info.max_rows)}
    for number in pace.rounds():
        order = list(points)
        random.Random(number).shuffle(order)
        for size, rows in order:
            points[size, rows].append(_step_seconds(bench, size, rows, repeats))
    return Curve(
        calibrated=list(info.step_times),
        sizes=[Size(size=size, knee=cost.knee(size**2), max_rows=cost.max_rows(size**2)) for size in sizes],
        points=[
            Point(size=size, rows=rows, measured=seconds, predicted=cost.step_seconds(rows, size**2))
            for (size, rows), seconds in points.items()
        ],
    )


def row_counts(max_rows: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, 24, ..., and `max_rows` itself."""
    powers = [2**exponent for exponent in range(max_rows.bit_length())]
    between = [power + power // 2 for power in powers[1:]]
    return sorted({rows for rows in (*powers, *between, max_rows) if rows <= max_rows})


def _step_seconds(bench: Workbench, size: int, rows: int, repeats: int) -> float:
    """The median of `repeats` steps, after one in which the prompts are encoded."""
    num_guided, num_others = divmod(rows, bench.engine.info.guidance_rows)
    batch = [
        _request(bench, number, size, repeats, guidance_scale=5.0 if number < num_guided else 1.0)
        for number in range(num_guided + num_others)
    ]
    steps: list[StepOutput] = []
    for _ in range(repeats + 1):
        bench.engine.run(batch, steps.append)
    for request in batch:
        bench.engine.release(request)
    return float(np.median([step.duration for step in steps[1:]]))


def _request(bench: Workbench, number: int, size: int, repeats: int, guidance_scale: float) -> Request:
    """One that runs, and comes neither to a preview nor to its picture."""
    params = bench.params(
        width=size, height=size, num_steps=repeats + 2, guidance_scale=guidance_scale, preview_every=0
    )
    return Request(f"curve-{number}", params, status=Status.RUNNING)
