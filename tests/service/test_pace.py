import pytest

from scheduler.messages import StepStats
from service.pace import Pace
from tests.service.test_kept import Clock


def make_stats(*, pixels: int, duration: float, running: int = 1) -> StepStats:
    return StepStats(
        step_counter=1,
        batch_size=1,
        num_rows=2,
        padded_rows=0,
        max_rows=32,
        useful_pixels=pixels,
        padded_pixels=0,
        duration=duration,
        stages={},
        waiting=0,
        running=running,
        previews=0,
        previews_coalesced=0,
        memory_used=0,
        memory_total=0,
    )


def test_nothing_is_known_before_the_first_step() -> None:
    pace = Pace()
    assert pace.seconds_for(1) is None
    assert pace.step_seconds is None


def test_the_first_step_tells_the_speed() -> None:
    pace = Pace(Clock())
    pace.observe("worker-0", make_stats(pixels=1000, duration=0.5))
    assert pace.seconds_for(4000) == pytest.approx(2.0)
    assert pace.step_seconds == pytest.approx(0.5)


def test_a_busy_worker_is_timed_from_step_to_step_and_an_idle_one_is_not() -> None:
    for running, step_seconds in ((1, 1.0), (0, 0.5)):
        clock = Clock()
        pace = Pace(clock)
        for _ in range(200):
            clock.now += 1.0  # half of it was not spent in the step
            pace.observe("worker-0", make_stats(pixels=1000, duration=0.5, running=running))
        assert pace.step_seconds == pytest.approx(step_seconds, rel=0.01)


def test_workers_add_up() -> None:
    pace = Pace(Clock())
    for name in ("worker-0", "worker-1"):
        pace.observe(name, make_stats(pixels=1000, duration=0.5))
    assert pace.seconds_for(4000) == pytest.approx(1.0)
    assert pace.step_seconds == pytest.approx(0.5)
