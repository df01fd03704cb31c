"""What is timed of a model at start-up, with steps whose seconds are given."""

import itertools
from collections.abc import Callable, Generator, Iterable

import pytest

from scheduler.calibration import BUDGET_SECONDS, MOST_RUNS, DoesNotFit, Point, measure, own_point, plan
from scheduler.messages import StepTime
from tests.info import make_info

OWN = 256


class Bench:
    """Runs steps that take `seconds(point)`, and notes what was run."""

    def __init__(self, seconds: Callable[[Point], Iterable[float]]) -> None:
        self.runs: list[Point] = []
        self.closed: list[Point] = []
        self.told: list[str] = []
        self._seconds = seconds

    def run_steps(self, point: Point) -> Generator[float, None, None]:
        try:
            for seconds in self._seconds(point):
                self.runs.append(point)
                yield seconds
        finally:
            self.closed.append(point)


def linear(seconds_a_row: float) -> Callable[[Point], Iterable[float]]:
    """Every step takes as long as its work says, from the seconds of a row of the model's own size."""
    return lambda point: itertools.repeat(point.work / OWN**2 * seconds_a_row)


def sides(points: Iterable[Point]) -> list[tuple[int, int]]:
    return [(point.rows, point.width) for point in points]


def test_own_size_first_and_then_the_least_work_first() -> None:
    points = plan(make_info(max_rows=16, max_size=512))
    assert sides(points) == [
        (1, 256),
        (1, 128),
        (4, 128),
        (2, 256),
        (16, 128),
        (4, 256),
        (1, 512),
        (8, 256),
        (2, 512),
        (16, 256),
        (4, 512),
    ]


def test_where_rows_are_padded_only_that_is_timed() -> None:
    info = make_info(max_rows=16, max_size=512, row_counts={OWN**2: (3, 6, 16)})
    assert own_point(info).rows == 3
    assert plan(info)[0] == own_point(info)
    assert [point.rows for point in plan(info) if point.width == OWN] == [3, 6, 16]
    assert [point.rows for point in plan(info) if point.width == OWN // 2] == [1, 4, 16]


def test_the_cap_is_timed_too() -> None:
    assert [point.rows for point in plan(make_info(max_rows=12)) if point.width == OWN] == [1, 2, 4, 8, 12]


def test_sizes_are_those_that_the_model_paints() -> None:
    info = make_info(default_width=96, default_height=80, min_size=64, max_size=128, size_multiple=16)
    assert {(point.width, point.height) for point in plan(info)} == {(96, 80), (64, 64), (128, 128)}


def test_a_model_with_one_size_is_timed_at_that() -> None:
    points = plan(make_info(min_size=256, max_size=256, max_rows=4))
    assert sides(points) == [(1, 256), (2, 256), (4, 256)]


@pytest.mark.parametrize(("guidance_rows", "rows"), [(2, 2), (1, 1)])
def test_a_guided_request_of_the_models_own_size(guidance_rows: int, rows: int) -> None:
    assert own_point(make_info(guidance_rows=guidance_rows)) == Point(rows, 256, 256)


def test_a_fast_model_is_timed_at_every_point_and_the_quickest_run_counts() -> None:
    info = make_info()
    bench = Bench(lambda _: iter([0.009, 0.003, 0.002, 0.004, 0.003]))
    calibration = measure(plan(info), info, bench.run_steps, bench.told.append)
    assert calibration.step_times == tuple(StepTime(point.pixels, point.rows, 0.002) for point in plan(info))
    assert calibration.max_rows == info.max_rows
    assert len(bench.runs) == MOST_RUNS * len(plan(info))
    assert set(bench.closed) == set(plan(info))


def test_a_disturbance_that_goes_by_does_not_count() -> None:
    """It trebles the time of the first eight steps, those of four points."""
    info = make_info(max_rows=2)
    numbers = itertools.count()
    bench = Bench(lambda point: ((3 if next(numbers) < 8 else 1) * seconds for seconds in linear(0.01)(point)))
    calibration = measure(plan(info), info, bench.run_steps, bench.told.append)
    assert [time.seconds for time in calibration.step_times] == [0.01, 0.0025, 0.005, 0.02, 0.04, 0.08]
    assert bench.runs[:12] == [point for point in plan(info) for _ in range(2)]
    assert bench.runs[12:18] == plan(info)


def test_steps_that_are_not_short_are_not_run_again() -> None:
    info = make_info(max_rows=2, min_size=256, max_size=256)
    bench = Bench(linear(0.15))
    measure(plan(info), info, bench.run_steps, bench.told.append)
    assert [point.rows for point in bench.runs] == [1, 1, 2, 2]


def test_progress_is_counted() -> None:
    info = make_info(max_rows=2, min_size=256, max_size=256)
    bench = Bench(linear(0.001))
    measure(plan(info), info, bench.run_steps, bench.told.append)
    assert bench.told == ["measuring the model's speed, 1 of 2", "measuring the model's speed, 2 of 2"]


@pytest.mark.parametrize("seconds_a_row", [0.05, 0.3, 1.9])
def test_it_ends_in_time(seconds_a_row: float) -> None:
    info = make_info()
    bench = Bench(linear(seconds_a_row))
    calibration = measure(plan(info), info, bench.run_steps, bench.told.append)
    assert sum(point.work / OWN**2 * seconds_a_row for point in bench.runs) <= BUDGET_SECONDS
    assert len(calibration.step_times) < len(plan(info))
    assert all(bench.runs.count(point) >= 2 for point in bench.runs)


def test_a_slow_model_is_timed_once() -> None:
    info = make_info()
    bench = Bench(linear(30.0))
    assert measure(plan(info), info, bench.run_steps, bench.told.append).step_times == (StepTime(OWN**2, 1, 30.0),)
    assert len(bench.runs) == 1


def too_big_from(rows: int, width: int) -> Callable[[Point], Iterable[float]]:
    def seconds(point: Point) -> Iterable[float]:
        if point.work >= rows * width**2:
            raise DoesNotFit
        return itertools.repeat(0.001)

    return seconds


@pytest.mark.parametrize(
    ("rows", "width", "max_rows"),
    [
        (16, OWN, 8),
        (2, 2 * OWN, 4),
        (2, OWN, 2),  # it may be that only one row fits: what takes two shall at least be tried
    ],
)
def test_what_does_not_fit_bounds_the_batch(rows: int, width: int, max_rows: int) -> None:
    info = make_info()
    bench = Bench(too_big_from(rows, width))
    calibration = measure(plan(info), info, bench.run_steps, bench.told.append)
    assert calibration.max_rows == max_rows
    assert {(time.rows, time.pixels) for time in calibration.step_times} == {
        (point.rows, point.pixels) for point in plan(info) if point.work < rows * width**2
    }
    assert bench.told[-1].startswith("the memory does not hold ")
    assert bench.told[-1].endswith(f": at most {max_rows} rows will run at once")


def test_what_no_longer_fits_bounds_nothing() -> None:
    """Another program has taken the memory."""

    def seconds(_: Point) -> Generator[float, None, None]:
        yield from (0.02, 0.01)
        raise DoesNotFit

    info = make_info()
    calibration = measure(plan(info), info, Bench(seconds).run_steps, lambda _: None)
    assert calibration.max_rows == info.max_rows
    assert calibration.step_times == tuple(StepTime(point.pixels, point.rows, 0.01) for point in plan(info))


def test_a_single_row_that_does_not_fit_is_refused() -> None:
    info = make_info()
    with pytest.raises(DoesNotFit):
        measure(plan(info), info, Bench(too_big_from(0, OWN)).run_steps, lambda _: None)
