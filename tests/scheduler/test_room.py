"""What is told to fit into a device's memory, from what was measured of it."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.cost import CostModel
from scheduler.messages import DeviceMemory, StepPeak, StepTime
from scheduler.room import USABLE, Room
from tests.info import make_info

MEGAPIXEL = 1024 * 1024
GB = 10**9


def make_memory(free: float, **changes: Any) -> DeviceMemory:
    """With so many usable bytes beside the model's 7 GB; a step takes 0.5 GB, and as much again for each megapixel."""
    defaults: dict[str, Any] = {
        "available": round((7 * GB + free) / USABLE),
        "resting": 7 * GB,
        "step_peaks": tuple(StepPeak(MEGAPIXEL, rows, round((0.5 + 0.5 * rows) * GB)) for rows in (1, 2, 4, 8)),
        "decode_peak": 0,
        "decode_pixels": MEGAPIXEL,
    }
    return DeviceMemory(**(defaults | changes))


def test_a_step_takes_what_was_measured() -> None:
    room = Room(make_memory(free=10 * GB, step_peaks=(StepPeak(MEGAPIXEL, 2, GB), StepPeak(MEGAPIXEL, 4, 2 * GB))))
    assert room.step_bytes(2, MEGAPIXEL) == pytest.approx(GB)
    assert room.step_bytes(3, MEGAPIXEL) == pytest.approx(1.5 * GB)
    assert room.step_bytes(1, 4 * MEGAPIXEL) == pytest.approx(2 * GB)


def test_one_measured_step_is_enough() -> None:
    room = Room(make_memory(free=10.1 * GB, step_peaks=(StepPeak(MEGAPIXEL, 2, GB),)))
    assert room.fitting_rows(MEGAPIXEL) == 20


peaks = st.builds(StepPeak, st.integers(4096, 4 * MEGAPIXEL), st.integers(1, 64), st.integers(0, 100 * GB))


@given(st.lists(peaks, min_size=1, max_size=12))
def test_no_step_takes_less_than_was_measured(step_peaks: list[StepPeak]) -> None:
    room = Room(make_memory(free=GB, step_peaks=tuple(step_peaks)))
    for peak in step_peaks:
        assert room.step_bytes(peak.rows, peak.pixels) >= peak.num_bytes * (1 - 1e-9)
        assert room.step_bytes(peak.rows + 1, peak.pixels) > room.step_bytes(peak.rows, peak.pixels)


@given(st.lists(peaks, min_size=1, max_size=12), st.integers(0, 200 * GB), st.integers(4096, 4 * MEGAPIXEL))
def test_the_rows_told_fit_and_one_more_does_not(step_peaks: list[StepPeak], free: int, pixels: int) -> None:
    room = Room(make_memory(free, step_peaks=tuple(step_peaks)))
    rows = room.fitting_rows(pixels)
    assert rows == 0 or room.step_bytes(rows, pixels) <= free + 1
    assert room.step_bytes(rows + 1, pixels) >= free - 1


def test_steps_leave_room_for_a_decode() -> None:
    memory = make_memory(free=8.6 * GB, decode_peak=3 * GB)
    assert Room(make_memory(free=8.6 * GB)).fitting_rows(MEGAPIXEL) == 16
    assert Room(memory).fitting_rows(MEGAPIXEL) == 10
    assert Room(memory).fitting_rows(2 * MEGAPIXEL) == 2  # of which one alone is as large as what is decoded at once
    assert Room(memory).fitting_rows(MEGAPIXEL // 4) == 40  # of which several are decoded at once


def test_a_lone_request_may_have_all_of_the_memory() -> None:
    room = Room(make_memory(free=2.6 * GB, decode_peak=3 * GB))
    assert room.fitting_rows(MEGAPIXEL) == 0
    assert room.largest_picture(num_rows=2) == pytest.approx(2.1 * MEGAPIXEL, rel=0.1)
    assert room.largest_picture(num_rows=1) == pytest.approx(4.2 * MEGAPIXEL, rel=0.1)


def test_nothing_fits_where_there_is_no_room() -> None:
    room = Room(make_memory(free=0))
    assert (room.fitting_rows(MEGAPIXEL), room.largest_picture(1)) == (0, 0)


@dataclass(frozen=True)
class Cap:
    free: float
    rows: int


@pytest.mark.parametrize("cap", [Cap(100 * GB, 32), Cap(4.6 * GB, 8), Cap(2.1 * GB, 3), Cap(0, 2)])
def test_a_batch_that_does_not_fit_is_never_put_together(cap: Cap) -> None:
    """With steps that take no longer for more rows, so that nothing else bounds them; a request shall be tried."""
    info = make_info(
        default_width=1024,
        default_height=1024,
        max_size=2048,
        step_times=(StepTime(MEGAPIXEL, 32, 0.02),),
        memory=make_memory(cap.free),
    )
    assert CostModel(info).max_rows(MEGAPIXEL) == cap.rows


def test_rows_that_are_padded_fit_with_their_padding() -> None:
    info = make_info(
        default_width=1024,
        default_height=1024,
        max_size=2048,
        step_times=(StepTime(MEGAPIXEL, 32, 0.02),),
        memory=make_memory(4.6 * GB),
        row_counts={MEGAPIXEL: (2, 6, 12, 32)},
    )
    assert CostModel(info).max_rows(MEGAPIXEL) == 6
