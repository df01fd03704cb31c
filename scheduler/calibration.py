"""What to time of a model at start-up, and how often: the plan of a calibration, and its budget."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import msgspec

from scheduler.messages import ModelInfo, StepPeak, StepTime
from scheduler.padding import padded

BUDGET_SECONDS = 4.0  # of steps, in all
POINT_SECONDS = 0.1  # of steps of one point, once it has had the fewest
FEWEST_RUNS, MOST_RUNS = 2, 5  # the first of a shape is slow: libraries prepare themselves for it


@dataclass(frozen=True, slots=True)
class Point:
    """A batch to time: rows, and the sides of their pictures in pixels."""

    rows: int
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def work(self) -> int:
        return self.rows * self.pixels


class Calibration(msgspec.Struct, frozen=True):
    """What was measured of a model. `max_rows` is the cap asked for, or less where memory does not hold as many.

    `step_peaks` are there where the device's memory can be measured.
    """

    step_times: tuple[StepTime, ...]
    max_rows: int
    step_peaks: tuple[StepPeak, ...] = ()


class DoesNotFit(RuntimeError):  # noqa: N818 - what a measurement finds out, not a fault
    """The memory does not hold a batch."""


RunSteps = Callable[[Point], Generator[float, None, None]]
"""Runs steps of a batch, one each time it is asked, and gives their seconds. Raises `DoesNotFit`."""

Progress = Callable[[str], None]


def own_point(info: ModelInfo) -> Point:
    """One request with guidance of the model's own size."""
    return _padded(Point(info.guidance_rows, info.default_width, info.default_height), info)


def plan(info: ModelInfo) -> list[Point]:
    """What to time: the least work first, but before all else one row of the model's own size.

    Rows double up to the cap at the model's own size. A smaller and a larger one, of half and of twice the sides, get
    fewer points, since what holds for one size tells much of another.
    """
    width, height = info.default_width, info.default_height
    own = [Point(rows, width, height) for rows in _powers(2, info.max_rows)]
    smaller = [Point(rows, *_scaled(info, 1, 2)) for rows in _powers(4, info.max_rows)]
    larger = [Point(rows, *_scaled(info, 2, 1)) for rows in _powers(2, min(4, info.max_rows))]
    first, *others = (_padded(point, info) for point in [*own, *smaller, *larger])
    rest = {*others} - {first}
    return [first, *sorted(rest, key=lambda point: (point.work, point.pixels))]


def measure(points: Sequence[Point], info: ModelInfo, run_steps: RunSteps, progress: Progress) -> Calibration:
    """Times as many of the points as there is time for, the first in any case. Raises `DoesNotFit` if that is too big.

    What is larger than a batch that does not fit is not tried.
    """
    times: list[StepTime] = []
    spent = 0.0
    for number, point in enumerate(points, 1):
        left, most = BUDGET_SECONDS - spent, _most_seconds(point, times)
        if times and FEWEST_RUNS * most > left:
            continue
        progress(f"measuring the model's speed, {number} of {len(points)}")
        try:
            runs = _runs(run_steps(point), left, most)
        except DoesNotFit:
            if not times:
                raise
            return _bounded(times, info, point, progress)
        spent += sum(runs)
        times.append(StepTime(point.pixels, point.rows, min(runs)))
    return Calibration(tuple(times), info.max_rows)


def _padded(point: Point, info: ModelInfo) -> Point:
    return dataclasses.replace(point, rows=padded(point.rows, info.row_counts.get(point.pixels, ())))


def _powers(base: int, most: int) -> list[int]:
    """1, base, base^2, ..., and `most`, which is at least 2."""
    powers = [1]
    while powers[-1] * base < most:
        powers.append(powers[-1] * base)
    return [*powers, most]


def _scaled(info: ModelInfo, numerator: int, denominator: int) -> tuple[int, int]:
    """The model's own width and height by a factor, as near as it paints them."""
    width, height = (
        min(max(side * numerator // denominator, info.min_size), info.max_size) // info.size_multiple
        for side in (info.default_width, info.default_height)
    )
    return width * info.size_multiple, height * info.size_multiple


def _most_seconds(point: Point, times: Sequence[StepTime]) -> float:
    """That a step should take, from one of less work: the seconds grow no faster than the work."""
    if not times:
        return math.inf
    latest = times[-1]
    return latest.seconds * max(1.0, point.work / (latest.rows * latest.pixels))


def _runs(steps: Generator[float, None, None], left: float, most: float) -> list[float]:
    """Seconds of a few runs, as many as there is time for; of one in any case.

    Where all took longer than `most`, something disturbed them, and more are made.
    """
    with contextlib.closing(steps):
        runs = [next(steps)]
        while len(runs) < MOST_RUNS:
            is_enough = len(runs) >= FEWEST_RUNS and min(runs) <= most
            if sum(runs) + min(runs) > (min(left, POINT_SECONDS) if is_enough else left):
                break
            runs.append(next(steps))
    return runs


def _bounded(times: Sequence[StepTime], info: ModelInfo, too_big: Point, progress: Progress) -> Calibration:
    """What was measured before memory ran out, and as many rows of the model's own size as held no more than fitted."""
    fitting = max(time.rows * time.pixels for time in times) // (info.default_width * info.default_height)
    max_rows = min(max(fitting, 2), info.max_rows)  # a request with guidance takes two: it shall at least be tried
    batch = f"{too_big.rows} rows of {too_big.width}x{too_big.height}"
    progress(f"the memory does not hold {batch}: at most {max_rows} rows will run at once")
    return Calibration(tuple(times), max_rows)
