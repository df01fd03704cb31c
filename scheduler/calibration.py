"""What to time of a model at start-up, and how often: the plan of a calibration, and its budget."""

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from scheduler.messages import ModelInfo, StepPeak, StepTime
from scheduler.padding import padded

BUDGET_SECONDS = 4.0  # of steps, in all
POINT_SECONDS = 0.3  # of steps of one point, once it has had the fewest
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

    What is larger than a batch that does not fit is not tried. In the end those of short steps are timed again.
    """
    runs: dict[Point, list[float]] = {}
    max_rows = info.max_rows
    with contextlib.ExitStack() as stack:
        steps = {point: stack.enter_context(contextlib.closing(run_steps(point))) for point in points}
        for number, point in enumerate(points, 1):
            left = _seconds_left(runs)
            if runs and FEWEST_RUNS * _most_seconds(point, runs) > left:
                continue
            progress(f"measuring the model's speed, {number} of {len(points)}")
            try:
                runs[point] = _first_runs(steps[point], left)
            except DoesNotFit:
                if not runs:
                    raise
                max_rows = _fitting_rows(runs, info, point, progress)
                break
        with contextlib.suppress(DoesNotFit):  # it did before
            _run_again(steps, runs)
    return Calibration(tuple(StepTime(point.pixels, point.rows, min(each)) for point, each in runs.items()), max_rows)


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


def _seconds_left(runs: Mapping[Point, Sequence[float]]) -> float:
    return BUDGET_SECONDS - sum(sum(each) for each in runs.values())


def _most_seconds(point: Point, runs: Mapping[Point, Sequence[float]]) -> float:
    """That a step should take, from one of less work: the seconds grow no faster than the work."""
    latest = list(runs)[-1]
    return min(runs[latest]) * max(1.0, point.work / latest.work)


def _first_runs(steps: Generator[float, None, None], left: float) -> list[float]:
    """Seconds of the fewest runs, as far as there is time for them; of one in any case."""
    runs = [next(steps)]
    while len(runs) < FEWEST_RUNS and min(runs) <= left - sum(runs):
        runs.append(next(steps))
    return runs


def _run_again(steps: Mapping[Point, Generator[float, None, None]], runs: Mapping[Point, list[float]]) -> None:
    """In rounds over all points, as far as there is time: what disturbs a few steps in a row shall not be all of one
    point's.
    """
    for point in [*runs] * (MOST_RUNS - FEWEST_RUNS):
        seconds = runs[point]
        if min(seconds) <= min(_seconds_left(runs), POINT_SECONDS - sum(seconds)):
            seconds.append(next(steps[point]))


def _fitting_rows(runs: Iterable[Point], info: ModelInfo, too_big: Point, progress: Progress) -> int:
    """As many rows of the model's own size as hold no more than fitted before memory ran out."""
    fitting = max(point.work for point in runs) // (info.default_width * info.default_height)
    max_rows = min(max(fitting, 2), info.max_rows)  # a request with guidance takes two: it shall at least be tried
    batch = f"{too_big.rows} rows of {too_big.width}x{too_big.height}"
    progress(f"the memory does not hold {batch}: at most {max_rows} rows will run at once")
    return max_rows
