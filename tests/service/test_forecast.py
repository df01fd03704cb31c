"""Forecasts against times worked out by hand, and against the scheduler itself."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.cost import CostModel
from scheduler.engine import RequestOutput
from scheduler.messages import StepTime
from scheduler.request import GenerateParams, Request
from scheduler.scheduler import StepScheduler
from service.forecast import Work, forecast_calls, forecast_steps
from tests.info import make_info

# A step takes 10 ms and 10 ms more for each row, so a request with guidance 30 ms alone, two of them 50 ms; more than
# two find no room.
COSTS = CostModel(
    make_info(max_rows=4, step_times=tuple(StepTime(256 * 256, rows, 0.01 + 0.01 * rows) for rows in (1, 2, 4)))
)


def make_params(**changes: Any) -> GenerateParams:
    defaults: dict[str, Any] = {"prompt": "a boat", "width": 256, "height": 256, "num_steps": 10}
    return GenerateParams(**(defaults | changes))


def make_work(request_id: str, num_steps: int, *, running: bool = False, **params: Any) -> Work:
    return Work(request_id, make_params(**params), num_steps, is_running=running)


def steps(*works: Work) -> dict[str, float]:
    return {request_id: round(seconds, 9) for request_id, seconds in forecast_steps(works, COSTS).items()}


def calls(*works: Work, max_batch: int = 8) -> dict[str, float]:
    return {request_id: round(seconds, 9) for request_id, seconds in forecast_calls(works, COSTS, max_batch).items()}


def test_nothing_to_do() -> None:
    assert steps() == calls() == {}


def test_a_request_alone() -> None:
    assert steps(make_work("a", 10)) == {"a": 0.3}


def test_requests_that_run_together_slow_each_other() -> None:
    assert steps(make_work("a", 10), make_work("b", 10)) == {"a": 0.5, "b": 0.5}


def test_who_finds_no_room_waits_for_the_first_to_end() -> None:
    assert steps(make_work("a", 10), make_work("b", 10), make_work("c", 10)) == {"a": 0.5, "b": 0.5, "c": 0.8}


def test_a_batch_is_faster_once_a_request_has_left_it() -> None:
    assert steps(make_work("a", 4), make_work("b", 10)) == {"a": 0.2, "b": 0.38}


def test_a_place_that_gets_free_is_taken_at_once() -> None:
    assert steps(make_work("a", 4), make_work("b", 10), make_work("c", 5)) == {"a": 0.2, "c": 0.45, "b": 0.48}


def test_what_was_done_already_is_not_done_again() -> None:
    assert steps(make_work("a", 1, running=True), make_work("b", 10)) == {"a": 0.05, "b": 0.32}


def test_nobody_overtakes_a_head_that_waits_for_its_second_row() -> None:
    narrow: dict[str, Any] = {"guidance_scale": 1.0}
    works = [make_work("a", 10), make_work("b", 5, **narrow), make_work("c", 5), make_work("d", 5, **narrow)]
    assert steps(*works) == {"a": 0.45, "b": 0.2, "c": 0.45, "d": 0.55}


def test_sizes_take_turns() -> None:
    upright, flat = make_work("a", 10, width=128, height=512), make_work("b", 10, width=512, height=128)
    assert steps(upright, flat) == {"a": 0.6, "b": 0.6}


def test_a_size_with_few_rows_comes_up_less_often() -> None:
    """A lone request's row is 1.2 times as dear as one in a full batch: in 1.44 turns of the others it has one."""
    flat = make_work("c", 25, width=512, height=128)
    assert steps(make_work("a", 36), make_work("b", 36), flat) == {"a": 2.55, "b": 2.55, "c": 2.55}


def test_a_size_that_many_ask_for_comes_up_more_often() -> None:
    """Upright ones want two batches, and so have two turns of three until only one is left."""
    upright = [make_work(name, 10, width=128, height=512) for name in "abcd"]
    flat = [make_work(name, 15, width=512, height=128) for name in "ef"]
    assert steps(*upright, *flat) == {"a": 0.75, "b": 0.75, "c": 1.75, "d": 1.75, "e": 1.75, "f": 1.75}


def test_a_call_goes_after_the_other() -> None:
    works = [make_work("a", 10), make_work("b", 10), make_work("c", 10)]
    assert calls(*works) == {"a": 0.5, "b": 0.5, "c": 0.8}
    assert calls(*works, max_batch=1) == pytest.approx({"a": 0.3, "b": 0.6, "c": 0.9})


def test_a_call_that_runs_is_not_joined() -> None:
    assert calls(make_work("a", 4, running=True), make_work("b", 10)) == {"a": 0.12, "b": 0.42}


def test_a_call_takes_those_with_it_that_can_share_it() -> None:
    works = [make_work("a", 10), make_work("b", 10, guidance_scale=3.0), make_work("c", 10)]
    assert calls(*works) == {"a": 0.5, "c": 0.5, "b": 0.8}


# Against the scheduler: a worker of 8 rows, whose steps take as long as foreseen.

WIDE = CostModel(
    make_info(
        max_rows=8,
        step_times=tuple(
            StepTime(side * side, rows, 0.01 + 0.01 * rows * (side / 256) ** 2)
            for side in (128, 256)
            for rows in (1, 2, 4, 8)
        ),
    )
)

some_params = st.builds(
    make_params,
    width=st.sampled_from([128, 256]),
    height=st.sampled_from([128, 256]),
    num_steps=st.integers(1, 30),
    guidance_scale=st.sampled_from([1.0, 5.0]),
)


def play(params: list[GenerateParams]) -> dict[str, float]:
    """When the scheduler ends each of them, if they come at once."""
    scheduler, now, ends = StepScheduler(WIDE), 0.0, {}
    for index, each in enumerate(params):
        scheduler.add(Request(str(index), each, arrived_at=0.0))
    while batch := scheduler.schedule(now):
        now += WIDE.step_seconds(sum(request.params.num_rows for request in batch), batch[0].params.pixels)
        for request in batch:
            is_last = request.steps_done + 1 == request.params.num_steps
            scheduler.postprocess([RequestOutput(request, request.steps_done + 1)])
            if is_last:
                ends[request.id] = now
    return ends


@settings(max_examples=60, deadline=None)
@given(st.lists(some_params, min_size=1, max_size=30))
def test_the_scheduler_does_what_was_foreseen(params: list[GenerateParams]) -> None:
    """Up to the turn or two by which the sizes are not quite even at any moment."""
    works = [Work(str(index), each, each.num_steps) for index, each in enumerate(params)]
    foreseen, real = forecast_steps(works, WIDE), play(params)
    assert foreseen.keys() == real.keys()
    for request_id, seconds in foreseen.items():
        assert math.isclose(seconds, real[request_id], rel_tol=0.1, abs_tol=0.5), request_id
