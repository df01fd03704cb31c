"""Every stage in small: what it measures, never how fast."""

import pytest

from benchmarks.engine.pace import Pace
from benchmarks.fanout.stages import admission, cost, idle, stalled, streams
from benchmarks.fanout.stages.idle import Point, slopes
from benchmarks.fanout.stages.streams import quantiles


@pytest.fixture
def pace() -> Pace:
    """Of one round."""
    return Pace(seconds=0, most=1)


def test_writing_is_measured_against_a_bare_protocol(pace: Pace) -> None:
    result = cost.measure_write(pace, seconds=0.05, streams=2)
    assert result.ways == ["bare", "write_frame"]
    assert result.event_bytes > 20_000
    assert [goal.bound for goal in result.goals] == ["at most 1.15x"]


def test_peers_write_the_same_event(pace: Pace) -> None:
    result = cost.measure_peers(pace, seconds=0.05, streams=2)
    assert result.ways == ["bare", "write_frame", "aiohttp_sse", "starlette"]
    assert all(seconds > 0 for seconds in result.rounds[0].values())
    assert [goal.bound for goal in result.goals] == ["", "", ""]


def test_the_whole_way_is_measured_by_turns_with_a_bare_protocol(pace: Pace) -> None:
    result = cost.measure_pipeline(pace, seconds=0.5, streams=4, at_once=2, interval=0.05)
    assert result.ways == ["bare", "service"]
    assert all(seconds > 0 for seconds in result.rounds[0].values())
    assert len(result.delivered) == 1
    assert [goal.bound for goal in result.goals] == ["at most 8.00x", ""]


def test_streams_tell_delays_and_what_was_delivered(pace: Pace) -> None:
    result = streams.measure(pace, streams=5, interval=0.05, seconds=0.5, warm_up=0.1)
    (measured,) = result.rounds
    assert measured.delay is not None
    assert measured.delay.min > 0
    assert measured.delivered == pytest.approx(measured.delay.n / (5 * measured.seconds / 0.05))
    assert len(result.quantiles) == 101
    assert result.quantiles == sorted(result.quantiles)
    assert [goal.is_met for goal in result.goals] == [None, None]  # too few for a judgement


def test_idle_streams_are_counted_from_after_the_warm_up(pace: Pace) -> None:
    result = idle.measure(pace, steps=1, step=5, warm_up=2, settle=0)
    for points in (result.watchers, result.with_generation):
        assert [point.streams for point in points] == [0, 5]
        assert all(point.resident_kib > 1024 for point in points)


def test_stalled_readers_are_beside_others(pace: Pace) -> None:
    result = stalled.measure(pace, num_stalled=2, readers=2, preview_bytes=1000, interval=0.05, seconds=0.3, settle=0.1)
    (measured,) = result.rounds
    assert measured.delay_alone is not None
    assert measured.delay_beside is not None
    assert measured.total_kib == measured.service_kib + measured.kernel_kib


def test_admissions_are_measured_beside_crowds_that_take_turns(pace: Pace) -> None:
    result = admission.measure(pace, under_way=(2, 40), count=3, settle=0)
    assert [(each.state, each.under_way) for each in result.besides] == [
        ("wait", 2),
        ("wait", 40),
        ("run", 2),
        ("run", 40),
    ]
    for each in result.besides:
        assert [taken.n for taken in each.rounds] == [3]
        assert each.rounds[0].min > 0
    assert [goal.bound for goal in result.goals] == ["at most 2.00x", "at most 2.00x"]


def test_slopes_are_taken_from_point_to_point() -> None:
    slope = slopes([Point(0, 100.0), Point(10, 200.0), Point(30, 500.0)])
    assert (slope.min, slope.max) == (10.0, 15.0)


def test_quantiles_of_nothing_are_none() -> None:
    assert quantiles([]) == []
    assert quantiles([0.0, 1.0])[25] == 0.25
