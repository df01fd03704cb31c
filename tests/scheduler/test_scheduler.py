from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from scheduler.cost import step_pixels
from scheduler.engine import RequestOutput, StepOutput
from scheduler.request import BatchKey, Request, Status, batch_key
from scheduler.scheduler import StepScheduler
from tests.scheduler.harness import make_params

PIXELS = np.zeros((1, 1, 3), dtype=np.uint8)


def make_request(request_id: str, **changes: object) -> Request:
    return Request(request_id, make_params(**changes))


def make_requests(count: int, **changes: object) -> list[Request]:
    return [make_request(f"{changes.get('width', 64)}-{index}", **changes) for index in range(count)]


def make_scheduler(requests: Iterable[Request] = (), max_rows: int = 8) -> StepScheduler:
    scheduler = StepScheduler(max_rows)
    for request in requests:
        scheduler.add(request)
    return scheduler


def step_output(batch: Sequence[Request], failing: Sequence[Request] = ()) -> StepOutput:
    """What an engine says after one step."""
    outputs = [
        RequestOutput(
            request,
            request.steps_done + 1,
            image=PIXELS if request.steps_done + 1 == request.params.num_steps else None,
            error="no luck" if request in failing else None,
        )
        for request in batch
    ]
    return StepOutput(outputs, sum(request.params.num_rows for request in batch), 0.0)


def run_step(scheduler: StepScheduler, now: float = 0.0) -> Sequence[Request]:
    batch = scheduler.schedule(now)
    scheduler.postprocess(step_output(batch))
    return batch


def ids(requests: Iterable[Request]) -> list[str]:
    return [request.id for request in requests]


def test_nothing_to_do() -> None:
    scheduler = make_scheduler()
    assert scheduler.schedule(0.0) == []
    assert scheduler.seconds_to_next(0.0) is None
    assert scheduler.is_idle


def test_a_request_runs_to_its_end() -> None:
    request = make_request("a", num_steps=2)
    scheduler = make_scheduler([request])
    assert (scheduler.num_waiting, scheduler.num_running, scheduler.seconds_to_next(0.0)) == (1, 0, 0.0)

    batch = scheduler.schedule(now=7.0)
    assert batch == [request]
    assert (request.status, request.started_at) == (Status.RUNNING, 7.0)
    assert (scheduler.num_waiting, scheduler.num_running) == (0, 1)

    assert scheduler.postprocess(step_output(batch)) == []
    assert request.steps_done == 1
    batch = scheduler.schedule(now=8.0)
    assert scheduler.postprocess(step_output(batch)) == [request]
    assert (request.status, request.started_at, request.steps_done) == (Status.FINISHED, 7.0, 2)
    assert scheduler.is_idle


def test_first_come_first_served_up_to_the_row_cap() -> None:
    scheduler = make_scheduler(make_requests(6), max_rows=8)
    assert ids(scheduler.schedule(0.0)) == ["64-0", "64-1", "64-2", "64-3"]
    assert (scheduler.num_waiting, scheduler.num_running) == (2, 4)


def test_a_free_row_is_refilled_on_the_very_next_step() -> None:
    short, *others = [make_request("short", num_steps=1), *make_requests(4)]
    scheduler = make_scheduler([short, *others], max_rows=8)
    assert ids(run_step(scheduler)) == ["short", "64-0", "64-1", "64-2"]
    assert ids(run_step(scheduler)) == ["64-0", "64-1", "64-2", "64-3"]


def test_a_head_of_two_rows_is_not_overtaken_where_one_is_free() -> None:
    running = [make_request("one-row", guidance_scale=1.0, num_steps=2), make_request("two-rows", num_steps=9)]
    scheduler = make_scheduler([*running, make_request("head"), make_request("late", guidance_scale=1.0)], max_rows=4)
    assert ids(run_step(scheduler)) == ["one-row", "two-rows"]
    assert ids(run_step(scheduler)) == ["one-row", "two-rows"]
    assert ids(run_step(scheduler)) == ["two-rows", "head"]


def test_sizes_do_not_mix_and_take_turns() -> None:
    scheduler = make_scheduler([*make_requests(1, width=64), *make_requests(1, width=128)])
    assert [ids(run_step(scheduler)) for _ in range(6)] == [
        ["64-0"],
        ["128-0"],
        ["64-0"],
        ["64-0"],
        ["128-0"],
        ["64-0"],
    ]


def test_a_full_group_does_not_keep_another_out() -> None:
    scheduler = make_scheduler(make_requests(20, num_steps=50), max_rows=8)
    run_step(scheduler)
    scheduler.add(make_request("other", width=128))
    run_step(scheduler)
    assert ids(run_step(scheduler)) == ["other"]


def test_a_new_group_does_not_catch_up_on_what_it_missed() -> None:
    scheduler = make_scheduler(make_requests(1, num_steps=50))
    for _ in range(20):
        run_step(scheduler)
    scheduler.add(make_request("new", height=72, num_steps=50))
    turns = Counter(ids(run_step(scheduler))[0] for _ in range(12))
    assert turns["64-0"] >= 5


def test_sizes_that_come_and_go_do_not_starve_one_that_stays() -> None:
    """There is always a newcomer that has not had its turn, of a size whose last request has left."""
    scheduler = make_scheduler([make_request("stays", width=512, height=512, num_steps=3)], max_rows=2)
    widths = range(64, 128, 8)
    bound = 3 * (1 + len(widths) * (1 + 512 * 512 // (64 * 64)))
    for turn in range(bound):
        busy = {request.params.width for request in scheduler.live_requests}
        newcomers = [width for width in widths if width not in busy][: 3 - len(busy)]
        for width in newcomers:
            scheduler.add(make_request(f"{width} in turn {turn}", width=width, num_steps=1))
        run_step(scheduler)
    assert "stays" not in ids(scheduler.live_requests)


def test_abort() -> None:
    running, waiting = make_requests(2)
    scheduler = make_scheduler([running, waiting], max_rows=2)
    batch = scheduler.schedule(0.0)
    assert scheduler.abort(waiting.id) is waiting
    assert scheduler.abort(running.id) is running
    assert {running.status, waiting.status} == {Status.ABORTED}
    assert scheduler.abort(running.id) is None
    assert scheduler.abort("nobody") is None
    assert scheduler.postprocess(step_output(batch)) == []
    assert running.steps_done == 0
    assert scheduler.is_idle
    assert scheduler.num_running == 0


def test_a_failing_request_fails_alone() -> None:
    good, bad = make_requests(2)
    scheduler = make_scheduler([good, bad])
    batch = scheduler.schedule(0.0)
    assert scheduler.postprocess(step_output(batch, failing=[bad])) == [bad]
    assert bad.status is Status.FAILED
    assert scheduler.schedule(0.0) == [good]


def test_fail_ends_what_is_still_live() -> None:
    first, second = make_requests(2)
    scheduler = make_scheduler([first, second])
    batch = scheduler.schedule(0.0)
    scheduler.abort(first.id)
    assert scheduler.fail(batch) == [second]
    assert (first.status, second.status) == (Status.ABORTED, Status.FAILED)


def test_an_id_is_taken_once() -> None:
    scheduler = make_scheduler([make_request("a")])
    with pytest.raises(ValueError, match="'a' is already here"):
        scheduler.add(make_request("a"))


MAX_ROWS = 5
SIZES = (64, 72, 256)
DEAREST_STEP = MAX_ROWS * max(SIZES) * 64


class AnyTraffic(RuleBasedStateMachine):
    """Requests come, are aborted and fail at any moment, also between `schedule` and `postprocess`."""

    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = StepScheduler(MAX_ROWS)
        self.accepted: list[Request] = []
        self.endings: Counter[str] = Counter()
        self.batch: Sequence[Request] = []
        self.turns_since: dict[BatchKey, Counter[BatchKey]] = {}

    @rule(
        target=requests,
        width=st.sampled_from(SIZES),
        guidance_scale=st.sampled_from([1.0, 5.0]),
        num_steps=st.integers(1, 6),
    )
    def add(self, width: int, guidance_scale: float, num_steps: int) -> Request:
        request = make_request(str(len(self.accepted)), width=width, guidance_scale=guidance_scale, num_steps=num_steps)
        self.scheduler.add(request)
        self.accepted.append(request)
        self.turns_since.setdefault(batch_key(request.params), Counter())
        return request

    @rule(request=requests)
    def abort(self, request: Request) -> None:
        was_live = request.is_live
        assert (self.scheduler.abort(request.id) is request) == was_live
        if was_live:
            self.endings[request.id] += 1
            assert request.status is Status.ABORTED
        self._forget_idle_keys()

    @rule()
    def schedule(self) -> None:
        self.batch = self.scheduler.schedule(0.0)
        assert bool(self.batch) == (self.scheduler.seconds_to_next(0.0) is not None)
        if self.batch:
            self._check_batch()
            self._count_turn(batch_key(self.batch[0].params))

    @rule(failing=st.integers(0, 20))
    def postprocess(self, failing: int) -> None:
        bad = [request for index, request in enumerate(self.batch) if index == failing]
        for request in self.scheduler.postprocess(step_output(self.batch, bad)):
            assert request.status is (Status.FAILED if request in bad else Status.FINISHED)
            self.endings[request.id] += 1
        self.batch = []
        self._forget_idle_keys()

    @invariant()
    def every_request_is_live_or_ended_once(self) -> None:
        for request in self.accepted:
            assert self.endings[request.id] == (0 if request.is_live else 1)

    @invariant()
    def the_counts_are_right(self) -> None:
        statuses = Counter(request.status for request in self.accepted)
        assert self.scheduler.num_waiting == statuses[Status.WAITING]
        assert self.scheduler.num_running == statuses[Status.RUNNING]
        assert set(self.scheduler.live_requests) == {request for request in self.accepted if request.is_live}

    def teardown(self) -> None:
        while not self.scheduler.is_idle:
            self.schedule()
            self.postprocess(failing=99)
        self.every_request_is_live_or_ended_once()

    def _check_batch(self) -> None:
        (key,) = {batch_key(request.params) for request in self.batch}
        num_rows = sum(request.params.num_rows for request in self.batch)
        assert num_rows <= MAX_ROWS
        assert all(request.status is Status.RUNNING for request in self.batch)
        waiting = [r for r in self.accepted if r.status is Status.WAITING and batch_key(r.params) == key]
        assert not waiting or num_rows + waiting[0].params.num_rows > MAX_ROWS, "a row was left free"
        oldest_waiting = int(waiting[0].id) if waiting else len(self.accepted)
        assert all(int(request.id) < oldest_waiting for request in self.batch), "somebody was overtaken"

    def _count_turn(self, served: BatchKey) -> None:
        """Between two turns of a key, any other has 1 + (dearest step / its own cheapest step) at most."""
        for key, turns in self.turns_since.items():
            turns[served] += 1
            assert key == served or turns[served] <= 1 + DEAREST_STEP // (served.width * served.height)
        self.turns_since[served] = Counter()

    def _forget_idle_keys(self) -> None:
        busy = {batch_key(request.params) for request in self.accepted if request.is_live}
        self.turns_since = {key: turns for key, turns in self.turns_since.items() if key in busy}


AnyTraffic.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAnyTraffic = AnyTraffic.TestCase


def test_groups_are_served_in_proportion_to_their_cost() -> None:
    small, large = make_requests(1, width=64, num_steps=50)[0], make_requests(1, width=256, num_steps=50)[0]
    scheduler = make_scheduler([small, large])
    for _ in range(40):
        run_step(scheduler)
    work = [request.steps_done * step_pixels(request.params) for request in (small, large)]
    assert abs(work[0] - work[1]) <= step_pixels(large.params)
