"""The caps and the token bucket of each key, by a clock that the test turns."""

import pytest

from service.errors import ApiError
from service.limits import BURST_SECONDS, KeyLimits


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def refusal(limits: KeyLimits, name: str = "alice", under_way: int = 0) -> tuple[int, str, str]:
    """Status, code and Retry-After."""
    with pytest.raises(ApiError) as caught:
        limits.check(name, under_way)
    return caught.value.status, caught.value.error_type, caught.value.headers["Retry-After"]


def test_without_limits_all_is_allowed() -> None:
    limits = KeyLimits(concurrency=0, rate=0, streams=0)
    for _ in range(3):
        limits.open_stream("alice")
        limits.check("alice", under_way=1_000_000)
        limits.charge("alice", cost=1e9)


def test_so_many_generations_at_once_and_no_more() -> None:
    limits = KeyLimits(concurrency=2, rate=0, streams=0)
    limits.check("alice", under_way=1)
    assert refusal(limits, under_way=2) == (429, "too_many_generations", "2")


def test_so_many_streams_at_once_and_no_more() -> None:
    limits = KeyLimits(concurrency=0, rate=0, streams=2)
    for name in ("alice", "alice", "bob"):
        limits.open_stream(name)
    with pytest.raises(ApiError) as caught:
        limits.open_stream("alice")
    assert (caught.value.status, caught.value.error_type) == (429, "too_many_streams")
    limits.close_stream("alice")
    limits.check_streams("alice")


def test_streams_that_resume_others_may_be_as_many_again() -> None:
    limits = KeyLimits(concurrency=0, rate=0, streams=1)
    limits.open_stream("alice")
    limits.open_stream("alice", resumes=True)
    with pytest.raises(ApiError):
        limits.open_stream("alice", resumes=True)
    limits.close_stream("alice")
    with pytest.raises(ApiError):
        limits.check_streams("alice")


def test_a_bucket_holds_a_minutes_work() -> None:
    clock = Clock()
    limits = KeyLimits(concurrency=0, rate=2, streams=0, clock=clock)
    for _ in range(3):
        limits.check("alice", 0)
        limits.charge("alice", cost=2 * BURST_SECONDS / 3)
    assert refusal(limits) == (429, "rate_limit", "1")
    clock.seconds += 0.5
    limits.check("alice", 0)


def test_what_was_drawn_beyond_it_is_made_up_for_first() -> None:
    clock = Clock()
    limits = KeyLimits(concurrency=0, rate=2, streams=0, clock=clock)
    limits.charge("alice", cost=2 * BURST_SECONDS + 20)
    assert refusal(limits) == (429, "rate_limit", "11")
    clock.seconds += 10
    assert refusal(limits) == (429, "rate_limit", "1")
    clock.seconds += 1
    limits.check("alice", 0)


def test_a_pause_fills_it_and_no_more() -> None:
    clock = Clock()
    limits = KeyLimits(concurrency=0, rate=2, streams=0, clock=clock)
    limits.check("alice", 0)
    clock.seconds += 100 * BURST_SECONDS
    limits.charge("alice", cost=2 * BURST_SECONDS)
    assert refusal(limits)[0] == 429


def test_keys_do_not_share() -> None:
    limits = KeyLimits(concurrency=0, rate=1, streams=0)
    limits.charge("alice", cost=1000)
    assert refusal(limits, "alice")[0] == 429
    limits.check("bob", 0)
