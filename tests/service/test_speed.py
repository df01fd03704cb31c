import pytest

from scheduler.messages import StepTime
from service.speed import Step, speed_of
from tests.info import make_info


def measured(side: int, *steps: tuple[int, float]) -> tuple[StepTime, ...]:
    return tuple(StepTime(side * side, rows, seconds) for rows, seconds in steps)


def test_what_follows_from_step_times() -> None:
    """Rows are free up to the second, and then cost 10 ms each."""
    times = measured(256, (2, 0.01), (1, 0.01), (8, 0.07)) + measured(128, (1, 0.005), (2, 0.005))
    speed = speed_of(make_info(max_rows=8, max_step_seconds=0.05, step_times=times))
    assert (speed.model, speed.device, speed.dtype, speed.max_rows) == ("postcard", "cpu", "float32", 8)
    small, own = speed.sizes
    assert (small.width, small.height) == (128, 128)
    assert (own.width, own.height) == (256, 256)
    assert own.measured == (Step(1, 0.01), Step(2, 0.01), Step(8, 0.07))
    assert own.foreseen == pytest.approx([0.01, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07])
    assert (own.knee, own.max_rows) == (2, 6)
    assert own.measured[1].rows_per_second == 200


def test_sizes_are_told_in_the_models_own_shape() -> None:
    times = (StepTime(64 * 128 * 4, 1, 0.01), StepTime(64 * 128, 1, 0.01))
    info = make_info(default_width=64, default_height=128, step_times=times)
    assert [(size.width, size.height) for size in speed_of(info).sizes] == [(64, 128), (128, 256)]
