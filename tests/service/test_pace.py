import math

import pytest

from service.pace import HORIZON_SECONDS, TRUST_SECONDS, Pace


def test_what_was_foreseen_holds_until_something_is_observed() -> None:
    assert Pace().ratio == 1.0


def test_the_first_steps_count_little_against_the_calibration() -> None:
    pace = Pace()
    pace.observe(foreseen=0.1, taken=0.2)
    trust = TRUST_SECONDS * math.exp(-0.1 / HORIZON_SECONDS)
    assert pace.ratio == pytest.approx((trust + 0.2) / (trust + 0.1))


def test_a_long_first_step_tells_more_than_the_calibration() -> None:
    pace = Pace()
    pace.observe(foreseen=30.0, taken=45.0)
    assert pace.ratio == pytest.approx(1.5, rel=0.01)


def test_a_worker_that_is_slower_for_long_is_known_to_be() -> None:
    pace = Pace()
    for _ in range(1000):
        pace.observe(foreseen=0.1, taken=0.15)
    assert pace.ratio == pytest.approx(1.5, rel=0.01)


def test_long_steps_count_more_than_short_ones() -> None:
    pace = Pace()
    for _ in range(100):
        pace.observe(foreseen=0.9, taken=0.9)
        pace.observe(foreseen=0.1, taken=1.1)
    assert pace.ratio == pytest.approx(2.0, rel=0.1)


def test_what_was_long_ago_is_forgotten() -> None:
    pace = Pace()
    for ratio in (3.0, 1.0):
        for _ in range(1000):
            pace.observe(foreseen=0.1, taken=0.1 * ratio)
    assert pace.ratio == pytest.approx(1.0, rel=0.01)
