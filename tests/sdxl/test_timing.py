"""The stopwatch: stages add up to no more than all."""

import pytest
import torch
from torch.profiler import profile

from scheduler.sdxl.timing import Stopwatch


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock: the list's only item."""
    now = [100.0]
    monkeypatch.setattr("scheduler.sdxl.timing.time.perf_counter", lambda: now[0])
    return now


def test_what_is_in_no_stage_shows_as_a_gap(now: list[float]) -> None:
    watch = Stopwatch()
    for name, seconds, gap in (("unet", 2.0, 0.5), ("sampler", 1.0, 0.0), ("unet", 4.0, 0.25)):
        with watch.stage(name):
            now[0] += seconds
        now[0] += gap
    assert watch.stages == {"unet": 6.0, "sampler": 1.0}
    assert watch.elapsed == 7.75


def test_a_profiler_sees_the_stages() -> None:
    watch = Stopwatch()
    with profile() as profiler, watch.stage("unet"), watch.stage("within"):
        torch.ones(1)
    assert {"unet", "within"} <= {event.key for event in profiler.key_averages()}
