"""Positions and times by a clock that the test moves on. A step takes 10 ms and 10 ms more for each row."""

import queue
from typing import Any

import pytest

from scheduler.cost import CostModel
from scheduler.fake_engine import FakeEngine
from scheduler.loop import Loop
from scheduler.messages import Drain, Heartbeat, Ready, StepStats, StepTime, WorkerConfig
from scheduler.request import AGEING, GenerateParams, Request
from scheduler.worker import make_scheduler
from service.estimates import HOLD_SECONDS, SHORT_QUEUE, Estimates
from tests.info import make_info, make_stats
from tests.service.test_kept import Clock

INFO = make_info(max_rows=4, step_times=tuple(StepTime(256 * 256, rows, 0.01 + 0.01 * rows) for rows in (1, 2, 4)))
ALONE, TWO = 0.03, 0.05  # a step of one request with guidance, and of two


def make_params(**changes: Any) -> GenerateParams:
    defaults: dict[str, Any] = {"prompt": "a boat", "width": 256, "height": 256, "num_steps": 10}
    return GenerateParams(**(defaults | changes))


class Desk:
    """Estimates with workers that are ready, and a clock."""

    def __init__(self, *workers: str, call_batch: int = 8, **info: Any) -> None:
        self.clock = Clock()
        self.estimates = Estimates(call_batch, self.clock)
        for worker in workers or ("worker-0",):
            self.estimates.observe_report(
                worker, Ready(make_info(**{"max_rows": 4, "step_times": INFO.step_times} | info))
            )

    def add(self, request_id: str, worker: str = "worker-0", **params: Any) -> None:
        """A moment after what was before, so that a new forecast is due."""
        self.clock.now += 1e-9 + 10 * HOLD_SECONDS
        self.estimates.add(worker, request_id, make_params(**params))
        self.clock.now += 1e-9

    def start(self, request_id: str) -> None:
        self.estimates.start(request_id)

    def step(self, count: int = 1, *, taken: float = ALONE, **stats: Any) -> None:
        """Steps that take so long, with more to come after each."""
        for _ in range(count):
            self.clock.now += taken
            self.estimates.observe_report("worker-0", make_stats(duration=taken, **{"running": 1} | stats))

    def seconds_left(self, request_id: str) -> float:
        self.clock.now += HOLD_SECONDS * 100
        seconds = self.estimates.seconds_left(request_id)
        assert seconds is not None
        return seconds


def about(seconds: float) -> Any:
    """Up to the moments that the desk lets pass."""
    return pytest.approx(seconds, abs=0.005)


def test_a_time_is_known_before_anything_was_observed() -> None:
    desk = Desk()
    desk.add("a")
    assert desk.seconds_left("a") == about(10 * ALONE)


def test_steps_that_were_made_are_not_waited_for() -> None:
    desk = Desk()
    desk.add("a")
    desk.start("a")
    desk.step(4)
    assert desk.seconds_left("a") == about(6 * ALONE)


def test_steps_of_another_size_are_not_its_own() -> None:
    desk = Desk()
    desk.add("a")
    desk.start("a")
    desk.step(4, useful_pixels=2 * 128 * 128, taken=0.0075)
    assert desk.seconds_left("a") == about(10 * ALONE)


def test_a_preview_tells_how_far_it_is() -> None:
    desk = Desk()
    desk.add("a")
    desk.start("a")
    desk.step(3)
    desk.estimates.progress("a", 5)
    desk.step()
    assert desk.seconds_left("a") == about(4 * ALONE)


def test_the_time_runs_down_between_forecasts() -> None:
    desk = Desk()
    desk.add("a")
    before = desk.seconds_left("a")
    desk.clock.now += HOLD_SECONDS / 2
    assert desk.estimates.seconds_left("a") == pytest.approx(before - HOLD_SECONDS / 2)


def test_a_time_is_never_negative() -> None:
    desk = Desk()
    desk.add("a")
    desk.start("a")
    desk.step(12)
    assert desk.seconds_left("a") == 0


def test_who_waits_waits_for_those_before() -> None:
    desk = Desk()
    for request_id in "abc":
        desk.add(request_id)
    assert desk.seconds_left("b") == about(10 * TWO)
    assert desk.seconds_left("c") == about(10 * TWO + 10 * ALONE)


def test_a_slow_worker_is_known_to_be_slow() -> None:
    desk = Desk()
    desk.add("a", num_steps=50)
    desk.step(2000, taken=2 * ALONE)
    assert desk.seconds_left("a") == pytest.approx(50 * 2 * ALONE, rel=0.02)


def test_what_a_busy_worker_does_between_steps_counts_and_rest_does_not() -> None:
    for running, factor in ((1, 3.0), (0, 1.0)):
        desk = Desk()
        desk.add("a", num_steps=50)
        for _ in range(2000):
            desk.clock.now += 2 * ALONE
            desk.step(running=running)
        assert desk.seconds_left("a") == pytest.approx(50 * ALONE * factor, rel=0.02)


def test_a_step_in_which_all_failed_tells_nothing() -> None:
    desk = Desk()
    desk.add("a")
    desk.step(100, num_rows=0, useful_pixels=0, taken=1.0)
    assert desk.seconds_left("a") == about(10 * ALONE)


def test_rows_of_padding_take_time_too() -> None:
    desk = Desk(batching="call")
    desk.add("a", num_steps=50)
    desk.step(2000, taken=TWO, padded_rows=2, padded_pixels=2 * 256 * 256)
    assert desk.seconds_left("a") == about(50 * ALONE)


def test_halves_of_a_batch_may_have_more_rows_with_padding_than_a_batch() -> None:
    desk = Desk()
    desk.add("a", num_steps=50)
    pixels = 3 * 256 * 256
    desk.step(2000, taken=TWO, num_rows=3, padded_rows=3, useful_pixels=pixels, padded_pixels=pixels)
    assert desk.seconds_left("a") == about(50 * ALONE)


@pytest.mark.parametrize("batching", ["step", "call"])
def test_a_cap_that_memory_lowered_is_kept_to(batching: str) -> None:
    desk = Desk(batching=batching)
    for request_id in "ab":
        desk.add(request_id)
    assert desk.seconds_left("b") == about(10 * TWO)
    desk.step(max_rows=2)
    assert desk.seconds_left("b") == about(20 * ALONE)
    desk.clock.now += HOLD_SECONDS * 100
    assert desk.estimates.seconds_with("worker-0", make_params(), count=1) == about(30 * ALONE)


@pytest.mark.parametrize(("side", "seconds"), [(128, 20 * ALONE), (512, 10 * TWO)])
def test_a_lowered_cap_holds_for_larger_sizes_too_and_not_for_smaller_ones(side: int, seconds: float) -> None:
    """Of 256x256, two rows take as much memory as eight of 128x128."""
    desk = Desk()
    for request_id in "ab":
        desk.add(request_id)
    desk.step(max_rows=3, useful_pixels=2 * side**2, taken=ALONE * (side / 256) ** 2)
    assert desk.seconds_left("b") == about(seconds)


def test_guesses_know_of_a_lowered_cap() -> None:
    """A row of two takes 15 ms, one of four 12.5."""
    desk = Desk()
    desk.step(max_rows=2)
    desk.add("a")
    desk.estimates.seconds_left("a")
    desk.estimates.add("worker-0", "b", make_params())
    assert desk.estimates.seconds_left("b") == about(10 * ALONE + 2 * 10 * 0.015)
    assert desk.estimates.seconds_for(40, ["worker-0"]) == about(40 * 0.015)


def test_a_worker_that_comes_back_may_have_more_memory() -> None:
    desk = Desk()
    desk.step(max_rows=2)
    desk.estimates.observe_report("worker-0", Ready(INFO))
    assert desk.estimates.seconds_with("worker-0", make_params(), count=2) == about(10 * TWO)


def test_what_a_worker_finds_out_of_its_memory_is_known_here() -> None:
    """Of four rows only two fit. So two requests take twice as long as one, as soon as the worker has said so."""
    config = WorkerConfig(model="fake", max_rows=4)
    engine, inbox, news = FakeEngine(config, fitting_rows=2), queue.SimpleQueue[Any](), list[Any]()
    loop = Loop(engine, make_scheduler(config, CostModel(engine.info)), inbox, news.extend)
    estimates = Estimates(config.call_batch, Clock())
    estimates.observe_report("worker-0", Ready(engine.info))

    def times_of_one() -> float:
        one, two = (estimates.seconds_with("worker-0", make_params(), count) for count in (1, 2))
        return two / one

    assert times_of_one() == pytest.approx(1)
    for number in range(2):
        inbox.put(Request(str(number), make_params()))
    inbox.put(Drain())
    loop.run()
    for report in news:
        if isinstance(report, StepStats):
            estimates.observe_report("worker-0", report)
    assert times_of_one() == pytest.approx(2)


def test_a_position_counts_those_that_start_before() -> None:
    desk = Desk()
    for request_id in "abc":
        desk.add(request_id)
    assert [desk.estimates.position(request_id) for request_id in "abc"] == [0, 1, 2]
    desk.start("a")
    assert [desk.estimates.position(request_id) for request_id in "abc"] == [None, 0, 1]
    desk.estimates.end("b")
    assert desk.estimates.position("c") == 0


def test_a_higher_priority_overtakes_some_that_came_before() -> None:
    desk = Desk()
    for index in range(AGEING + 4):
        desk.add(str(index), num_steps=1)
    desk.add("urgent", priority=1)
    assert desk.estimates.position("urgent") == 5
    assert desk.estimates.position(str(AGEING + 3)) == AGEING + 4


def test_a_higher_priority_is_finished_sooner() -> None:
    desk = Desk()
    for request_id in "abc":
        desk.add(request_id)
    desk.add("urgent", priority=10)
    assert desk.seconds_left("urgent") == about(10 * TWO)
    assert desk.seconds_left("b") == about(20 * TWO)


def test_each_worker_has_a_queue_of_its_own() -> None:
    desk = Desk("worker-0", "worker-1")
    for request_id in "abc":
        desk.add(request_id, worker="worker-0")
    desk.add("d", worker="worker-1")
    assert desk.estimates.position("d") == 0
    assert desk.seconds_left("d") == about(10 * ALONE)


def test_a_request_that_has_ended_is_forgotten() -> None:
    desk = Desk()
    desk.add("a")
    desk.estimates.end("a")
    desk.estimates.end("a")
    assert desk.estimates.position("a") is None
    assert desk.estimates.seconds_left("a") is None


def test_a_worker_that_comes_back_has_nothing_to_do() -> None:
    desk = Desk()
    for request_id in "abc":
        desk.add(request_id)
    desk.estimates.observe_report("worker-0", Ready(INFO))
    desk.add("d")
    for request_id in "abc":
        desk.estimates.end(request_id)
    assert desk.estimates.position("d") == 0
    assert desk.seconds_left("d") == about(10 * ALONE)


def test_other_reports_tell_nothing() -> None:
    desk = Desk()
    desk.add("a")
    desk.estimates.observe_report("worker-0", Heartbeat(step_counter=100, running=3))
    assert desk.seconds_left("a") == about(10 * ALONE)


def test_in_call_mode_calls_follow_each_other() -> None:
    desk = Desk(batching="call", call_batch=1)
    desk.add("a")
    desk.add("b")
    assert desk.seconds_left("b") == about(20 * ALONE)


def test_one_that_comes_while_a_forecast_holds_is_guessed_from_it() -> None:
    """By what it adds to the work: a row of a full batch takes 12.5 ms."""
    desk = Desk()
    desk.add("a")
    desk.estimates.seconds_left("a")
    desk.estimates.add("worker-0", "b", make_params())
    desk.estimates.add("worker-0", "c", make_params(width=128, height=128))
    assert desk.estimates.seconds_left("b") == about(10 * ALONE + 2 * 10 * 0.0125)
    assert desk.estimates.seconds_left("c") == about(10 * ALONE / 4)
    assert desk.seconds_left("b") == about(10 * (TWO + 0.0075 / 1.2**2))  # and foreseen, a moment later


def test_what_another_request_would_take() -> None:
    desk = Desk()
    assert desk.estimates.seconds_with("worker-0", make_params(), count=1) == about(10 * ALONE)
    assert desk.estimates.seconds_with("worker-0", make_params(), count=3) == about(10 * TWO + 10 * ALONE)
    for request_id in "ab":
        desk.add(request_id)
        desk.start(request_id)
    desk.add("c")
    assert desk.estimates.seconds_with("worker-0", make_params(), count=1) == about(20 * TWO)
    assert desk.estimates.seconds_with("worker-0", make_params(num_steps=5, priority=1), count=1) == about(15 * TWO)
    assert desk.estimates.position("c") == 0


def test_what_another_would_take_while_a_forecast_holds() -> None:
    desk = Desk()
    desk.add("a")
    desk.estimates.seconds_left("a")
    seconds = desk.estimates.seconds_with("worker-0", make_params(), count=1)
    assert seconds == about(10 * ALONE + 2 * 10 * 0.0125)


def test_of_a_long_queue_one_forecast_answers_many_questions() -> None:
    """Each of its requests takes 20 rows' steps of 12.5 ms, and so does each that is asked about."""
    desk = Desk()
    for index in range(SHORT_QUEUE + 2):
        desk.add(str(index))
    last = desk.estimates.seconds_with("worker-0", make_params(), count=1)
    assert last == about((SHORT_QUEUE + 3) * 20 * 0.0125)
    assert desk.estimates.seconds_with("worker-0", make_params(), count=3) == about(last + 2 * 20 * 0.0125)
    assert desk.estimates.seconds_with("worker-0", make_params(width=512), count=2) == about(20 * ALONE + 20 * 0.025)


def test_whoever_overtakes_a_long_queue_need_not_wait_for_it() -> None:
    """Whether or not a forecast holds."""
    desk = Desk()
    for index in range(3 * SHORT_QUEUE):
        desk.add(str(index))
    urgent = make_params(priority=10)
    assert desk.estimates.seconds_with("worker-0", urgent, count=1) == about(10 * TWO)
    desk.estimates.seconds_left("0")
    assert desk.estimates.seconds_with("worker-0", urgent, count=1) == about(10 * TWO)


def test_workers_get_work_done_together() -> None:
    """Four rows of 10 steps, each 12.5 ms in a full batch."""
    both = "worker-0", "worker-1"
    assert Desk(*both).estimates.seconds_for(40, ["worker-1"]) == pytest.approx(0.5)
    assert Desk(*both).estimates.seconds_for(40, both) == pytest.approx(0.25)


def test_work_takes_longer_on_a_slow_worker() -> None:
    desk = Desk()
    desk.step(2000, taken=2 * ALONE)
    assert desk.estimates.seconds_for(40, ["worker-0"]) == pytest.approx(1.0, rel=0.02)
