import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from scheduler.cost import DEAREST_TURN, MOST_SHARES, CostModel
from scheduler.engine import RequestOutput
from scheduler.messages import StepTime
from scheduler.request import AGEING, MAX_PRIORITY, MIN_PRIORITY, Request, Status, batch_key
from scheduler.scheduler import StepScheduler
from tests.info import make_info
from tests.scheduler.harness import make_params

PIXELS = np.zeros((1, 1, 3), dtype=np.uint8)
TURNS_OF_ANOTHER = 1 + DEAREST_TURN * MOST_SHARES  # between two of a busy group, at most


def make_request(request_id: str, **changes: object) -> Request:
    return Request(request_id, make_params(**changes))


def make_requests(count: int, **changes: object) -> list[Request]:
    return [make_request(f"{changes.get('width', 64)}-{index}", **changes) for index in range(count)]


def make_cost(max_rows: int) -> CostModel:
    """Steps of 10 ms a row of 256x256, at least two."""
    return CostModel(make_info(max_rows=max_rows, max_step_seconds=math.inf))


def make_flat_cost(max_rows: int) -> CostModel:
    """Steps of 10 ms, whatever their size and rows: a row is the dearer, the fewer there are."""
    step_times = tuple(StepTime(64 * 64 * scale, rows, 0.01) for scale in (1, 4) for rows in (1, max_rows))
    return CostModel(make_info(max_rows=max_rows, step_times=step_times))


def make_scheduler(requests: Iterable[Request] = (), max_rows: int = 8, cost: CostModel | None = None) -> StepScheduler:
    scheduler = StepScheduler(cost or make_cost(max_rows))
    for request in requests:
        scheduler.add(request)
    return scheduler


def step_outputs(batch: Sequence[Request], failing: Sequence[Request] = ()) -> Sequence[RequestOutput]:
    """What an engine says after one step."""
    return [
        RequestOutput(
            request,
            request.steps_done + 1,
            image=PIXELS if request.steps_done + 1 == request.params.num_steps else None,
            error="no luck" if request in failing else None,
        )
        for request in batch
    ]


def run_step(scheduler: StepScheduler, now: float = 0.0) -> Sequence[Request]:
    batch = scheduler.schedule(now)
    scheduler.postprocess(step_outputs(batch))
    return batch


def run_last_step(scheduler: StepScheduler) -> None:
    """All of the batch is denoised then, and its pictures are still to be made."""
    batch = scheduler.schedule(0.0)
    assert scheduler.postprocess([RequestOutput(each, each.params.num_steps) for each in batch]) == []


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

    assert scheduler.postprocess(step_outputs(batch)) == []
    assert request.steps_done == 1
    batch = scheduler.schedule(now=8.0)
    (output,) = scheduler.postprocess(step_outputs(batch))
    assert (output.request, output.image is PIXELS) == (request, True)
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
    assert [ids(run_step(scheduler)) for _ in range(4)] == [["64-0"], ["128-0"], ["64-0"], ["128-0"]]


def test_a_group_whose_rows_are_dear_comes_less_often_but_not_much_less() -> None:
    lone, company = make_requests(1, width=128, num_steps=50), make_requests(4, num_steps=50)
    scheduler = make_scheduler([*company, *lone], cost=make_flat_cost(8))
    sizes = [run_step(scheduler)[0].params.width for _ in range(9)]
    assert sizes == [64, 128, 64, 64, 128, 64, 64, 128, 64]


def test_a_group_that_many_ask_for_comes_more_often() -> None:
    """64 pixels are wanted by two batches, 128 by one, and 192 by four and more, which is as much as counts."""
    wanted = {64: 8, 128: 4, 192: 40}
    requests = [each for width, count in wanted.items() for each in make_requests(count, width=width, num_steps=50)]
    scheduler = make_scheduler(requests, max_rows=8)
    turns = Counter(run_step(scheduler)[0].params.width for _ in range(70))
    assert turns == {64: 20, 128: 10, 192: 40}


def test_a_dear_group_beside_one_that_many_ask_for_comes_as_often_as_the_bound_says() -> None:
    lone, crowd = make_requests(1, width=128, num_steps=50), make_requests(20, num_steps=50)
    scheduler = make_scheduler([*crowd, *lone], cost=make_flat_cost(8))
    widths = [run_step(scheduler)[0].params.width for _ in range(60)]
    turns = [turn for turn, width in enumerate(widths) if width == 128]
    assert {late - early - 1 for early, late in itertools.pairwise(turns)} == {TURNS_OF_ANOTHER - 1}


def test_a_group_that_few_still_ask_for_comes_less_often_again() -> None:
    many, few = make_requests(8, num_steps=50), make_requests(4, width=128, num_steps=50)
    scheduler = make_scheduler([*many, *few], max_rows=8)
    run_step(scheduler)
    for request in many[4:]:
        scheduler.abort(request.id)
    turns = Counter(run_step(scheduler)[0].params.width for _ in range(20))
    assert turns == {64: 10, 128: 10}


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
    """There is always a newcomer, of a size that was never seen before."""
    scheduler = make_scheduler([make_request("stays", width=512, height=512, num_steps=3)], max_rows=2)
    widths = itertools.count(64, 8)
    for _ in range(3 * (1 + 2 * TURNS_OF_ANOTHER)):
        while scheduler.num_waiting + scheduler.num_running < 3:
            width = next(widths)
            scheduler.add(make_request(str(width), width=width, num_steps=1))
        run_step(scheduler)
    assert "stays" not in ids(scheduler.live_requests)


def test_a_higher_priority_overtakes_as_many_as_it_is_worth() -> None:
    early = [make_request(f"early {index}") for index in range(AGEING)]
    scheduler = make_scheduler([make_request("first"), *early, make_request("urgent", priority=1)], max_rows=4)
    assert ids(run_step(scheduler)) == ["first", "early 0"]
    scheduler.abort("early 0")
    assert ids(run_step(scheduler)) == ["first", "urgent"]


@given(st.lists(st.integers(MIN_PRIORITY, MAX_PRIORITY), max_size=200), st.integers(0, 200))
def test_nobody_is_overtaken_by_more_than_the_bound(priorities: list[int], num_present: int) -> None:
    """Whoever is there at first, and however many more important ones keep coming."""
    requests = [make_request(str(index), priority=priority) for index, priority in enumerate(priorities)]
    scheduler = make_scheduler(requests[:num_present], max_rows=2)
    order: list[int] = []
    for late in [*requests[num_present:], *[None] * len(requests)]:
        if late is not None:
            scheduler.add(late)
        for request in scheduler.schedule(0.0):
            order.append(int(request.id))
            scheduler.abort(request.id)
    assert sorted(order) == list(range(len(requests)))
    for place, number in enumerate(order):
        difference = MAX_PRIORITY - priorities[number]
        assert sum(other > number for other in order[:place]) <= max(0, AGEING * difference - 1)


def test_abort() -> None:
    running, waiting = make_requests(2)
    scheduler = make_scheduler([running, waiting], max_rows=2)
    batch = scheduler.schedule(0.0)
    assert scheduler.abort(waiting.id) is waiting
    assert scheduler.abort(running.id) is running
    assert {running.status, waiting.status} == {Status.ABORTED}
    assert scheduler.abort(running.id) is None
    assert scheduler.abort("nobody") is None
    assert scheduler.postprocess(step_outputs(batch)) == []
    assert running.steps_done == 0
    assert scheduler.is_idle
    assert scheduler.num_running == 0


def test_a_failing_request_fails_alone() -> None:
    good, bad = make_requests(2)
    scheduler = make_scheduler([good, bad])
    batch = scheduler.schedule(0.0)
    (output,) = scheduler.postprocess(step_outputs(batch, failing=[bad]))
    assert (output.request, output.error) == (bad, "no luck")
    assert bad.status is Status.FAILED
    assert scheduler.schedule(0.0) == [good]


def test_fail_ends_what_is_still_live() -> None:
    first, second = make_requests(2)
    scheduler = make_scheduler([first, second])
    scheduler.schedule(0.0)
    scheduler.abort(first.id)
    assert [scheduler.fail(first), scheduler.fail(second), scheduler.fail(second)] == [False, True, False]
    assert (first.status, second.status) == (Status.ABORTED, Status.FAILED)


def test_an_id_is_taken_once() -> None:
    scheduler = make_scheduler([make_request("a")])
    with pytest.raises(ValueError, match="'a' is already here"):
        scheduler.add(make_request("a"))


class TestDecoding:
    """Requests whose picture is made beside the steps of others."""

    def test_a_request_without_a_picture_leaves_its_rows_and_stays_live(self) -> None:
        request, heir = make_requests(2)
        scheduler = make_scheduler([request, heir], max_rows=2)
        run_last_step(scheduler)
        assert [request.status, heir.status] == [Status.DECODING, Status.WAITING]
        assert (scheduler.num_running, scheduler.num_decoding, scheduler.num_waiting) == (0, 1, 1)
        assert ids(run_step(scheduler)) == [heir.id]

        (output,) = scheduler.postprocess([RequestOutput(request, 1, image=PIXELS)])
        assert output.image is PIXELS
        assert [request.status, heir.status] == [Status.FINISHED, Status.RUNNING]

    def test_there_is_nothing_to_schedule_while_pictures_are_made(self) -> None:
        scheduler = make_scheduler(make_requests(1))
        run_last_step(scheduler)
        assert (scheduler.is_idle, scheduler.seconds_to_next(0.0), scheduler.schedule(0.0)) == (False, None, [])

    @pytest.mark.parametrize(
        ("end", "status"),
        [
            (lambda scheduler, request: scheduler.abort(request.id), Status.ABORTED),
            (lambda scheduler, request: scheduler.fail(request), Status.FAILED),
            (lambda scheduler, _: scheduler.expire(now=5.0), Status.FAILED),
            (lambda scheduler, request: scheduler.postprocess([RequestOutput(request, 1, error="x")]), Status.FAILED),
        ],
        ids=["abort", "fail", "expire", "error"],
    )
    def test_it_can_end_otherwise(self, end: Callable[[StepScheduler, Request], object], status: Status) -> None:
        request = Request("a", make_params(num_steps=1, deadline=5.0), arrived_at=0.0)
        scheduler = make_scheduler([request])
        run_last_step(scheduler)
        end(scheduler, request)
        assert (request.status, scheduler.is_idle, scheduler.num_decoding) == (status, True, 0)
        assert scheduler.postprocess([RequestOutput(request, 1, image=PIXELS)]) == []

    def test_a_late_preview_is_shown_unless_a_newer_one_was(self) -> None:
        request = make_request("a", num_steps=5)
        scheduler = make_scheduler([request])
        scheduler.schedule(0.0)
        told = [
            [output.steps_done for output in scheduler.postprocess([RequestOutput(request, step, preview=preview)])]
            for step, preview in [(1, None), (2, None), (2, PIXELS), (1, PIXELS), (2, PIXELS), (5, None), (4, PIXELS)]
        ]
        assert told == [[], [], [2], [], [], [], [4]]
        assert (request.steps_done, request.status) == (5, Status.DECODING)
        assert len(scheduler.postprocess([RequestOutput(request, 5, image=PIXELS)])) == 1
        assert scheduler.postprocess([RequestOutput(request, 4, preview=PIXELS)]) == []


class TestDeadlines:
    """Steps take 10 ms."""

    def make_scheduler(self, *requests: Request) -> StepScheduler:
        return make_scheduler(requests, cost=make_flat_cost(8))

    def make_request(self, request_id: str = "a", deadline: float | None = 1.0, num_steps: int = 10) -> Request:
        return Request(request_id, make_params(num_steps=num_steps, deadline=deadline), arrived_at=100.0)

    def test_one_that_waits_ends_when_its_steps_would_take_too_long(self) -> None:
        request = self.make_request()
        scheduler = self.make_scheduler(request)
        assert scheduler.expire(100.89) == []
        assert scheduler.expire(100.91) == [request]
        assert (request.status, scheduler.is_idle) == (Status.FAILED, True)
        assert scheduler.expire(200.0) == []

    def test_one_that_runs_has_until_its_deadline(self) -> None:
        request = self.make_request()
        scheduler = self.make_scheduler(request)
        scheduler.schedule(100.5)
        assert scheduler.expire(100.99) == []
        assert scheduler.expire(101.0) == [request]
        assert scheduler.schedule(101.0) == []

    def test_one_that_could_never_be_done_in_time_ends_at_once(self) -> None:
        scheduler = self.make_scheduler(request := self.make_request(deadline=0.05))
        assert scheduler.expire(100.0) == [request]

    def test_others_go_on(self) -> None:
        patient, late, later = self.make_request("b", None), self.make_request("c"), self.make_request("d", 2.0)
        scheduler = self.make_scheduler(patient, later, late)
        assert scheduler.expire(101.0) == [late]
        assert scheduler.expire(1e9) == [later]
        assert scheduler.schedule(1e9) == [patient]

    def test_one_that_ended_in_time_is_forgotten(self) -> None:
        scheduler = self.make_scheduler(self.make_request())
        scheduler.abort("a")
        assert scheduler.expire(200.0) == []


class TestSuspects:
    """After a batch that the engine could not run."""

    def test_each_starts_afresh_and_stays_alone(self) -> None:
        suspects = make_requests(2, num_steps=2)
        scheduler = make_scheduler(suspects)
        run_step(scheduler, now=1.0)
        batch = scheduler.schedule(2.0)
        assert scheduler.isolate(batch) == suspects
        assert {(each.status, each.steps_done) for each in suspects} == {(Status.WAITING, 0)}
        scheduler.add(make_request("new", num_steps=9))
        assert [ids(run_step(scheduler, now=3.0)) for _ in range(6)] == [
            ["new"],
            ["64-0"],
            ["64-1"],
            ["new"],
            ["64-0"],
            ["64-1"],
        ]
        assert {(each.status, each.started_at) for each in suspects} == {(Status.FINISHED, 1.0)}

    def test_those_that_have_ended_stay_so(self) -> None:
        gone, here = make_requests(2)
        scheduler = make_scheduler([gone, here])
        batch = scheduler.schedule(0.0)
        scheduler.abort(gone.id)
        assert scheduler.isolate(batch) == [here]
        assert (gone.status, scheduler.num_waiting, scheduler.num_running) == (Status.ABORTED, 1, 0)

    def test_its_previews_are_shown_from_where_they_were(self) -> None:
        request = make_request("a", num_steps=9)
        scheduler = make_scheduler([request])
        scheduler.schedule(0.0)
        scheduler.postprocess([RequestOutput(request, 3, preview=PIXELS)])
        scheduler.isolate([request])
        scheduler.schedule(0.0)
        told = [len(scheduler.postprocess([RequestOutput(request, step, preview=PIXELS)])) for step in (1, 2, 3, 4)]
        assert told == [0, 0, 0, 1]


class TestMemory:
    def test_the_cap_falls_for_that_size_and_in_proportion_for_larger_ones(self) -> None:
        scheduler = make_scheduler(max_rows=16)
        scheduler.limit_rows(128 * 128, 12)
        assert [scheduler.max_rows(pixels) for pixels in (64 * 64, 128 * 128, 128 * 256, 256 * 256)] == [16, 12, 6, 3]
        scheduler.limit_rows(64 * 64, 10)
        assert [scheduler.max_rows(pixels) for pixels in (64 * 64, 128 * 128, 256 * 256)] == [10, 2, 2]

    def test_smaller_sizes_keep_theirs(self) -> None:
        scheduler = make_scheduler(max_rows=16)
        scheduler.limit_rows(128 * 128, 2)
        assert scheduler.max_rows(64 * 64) == 16

    def test_it_never_rises_again_and_leaves_room_for_one_request(self) -> None:
        scheduler = make_scheduler(max_rows=16)
        for rows, cap in [(8, 8), (12, 8), (1, 2)]:
            scheduler.limit_rows(64 * 64, rows)
            assert scheduler.max_rows(64 * 64) == cap

    def test_those_that_started_last_rest_until_there_is_room(self) -> None:
        requests = make_requests(5, num_steps=2)
        scheduler = make_scheduler(requests, max_rows=8)
        assert ids(run_step(scheduler)) == ["64-0", "64-1", "64-2", "64-3"]
        scheduler.limit_rows(64 * 64, 4)
        assert [ids(run_step(scheduler)) for _ in range(4)] == [
            ["64-0", "64-1"],
            ["64-2", "64-3"],
            ["64-4"],
            ["64-4"],
        ]


MAX_ROWS = 5
SIZES = (64, 72, 256)


class AnyTraffic(RuleBasedStateMachine):
    """Requests come, are aborted, fail, run out of time or of memory at any moment, also while a step is under way."""

    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.scheduler = StepScheduler(make_flat_cost(MAX_ROWS))
        self.accepted: list[Request] = []
        self.endings: Counter[str] = Counter()
        self.batch: Sequence[Request] = []
        self.turns_since: dict[Hashable, Counter[Hashable]] = {}  # by key, the turns of others since it was served
        self.most_busy: dict[Hashable, int] = {}  # by key, the most keys that were busy since then

    @rule(
        target=requests,
        width=st.sampled_from(SIZES),
        guidance_scale=st.sampled_from([1.0, 5.0]),
        num_steps=st.integers(1, 6),
        priority=st.integers(MIN_PRIORITY, MAX_PRIORITY),
        deadline=st.none() | st.floats(0.01, 1.0),
    )
    def add(self, **changes: object) -> Request:
        request = Request(str(len(self.accepted)), make_params(**changes), arrived_at=self.now)
        self.scheduler.add(request)
        self.accepted.append(request)
        return request

    @rule(request=requests)
    def abort(self, request: Request) -> None:
        was_live = request.is_live
        assert (self.scheduler.abort(request.id) is request) == was_live
        if was_live:
            self._count_ending(request, Status.ABORTED)

    @rule(seconds=st.floats(0.0, 0.1))
    def expire(self, seconds: float) -> None:
        self.now += seconds
        for request in self.scheduler.expire(self.now):
            self._count_ending(request, Status.FAILED)
        assert all(
            request.deadline_at is None or request.deadline_at > self.now for request in self.scheduler.live_requests
        )

    @rule(width=st.sampled_from(SIZES), num_rows=st.integers(1, MAX_ROWS))
    def run_out_of_memory(self, width: int, num_rows: int) -> None:
        self.scheduler.limit_rows(64 * width, num_rows)

    @precondition(lambda self: not self.batch)
    @rule()
    def schedule(self) -> None:
        waiting = [request for request in self.accepted if request.status is Status.WAITING]
        self.batch = self.scheduler.schedule(self.now)
        assert bool(self.batch) == (self.scheduler.seconds_to_next(self.now) is not None)
        if self.batch:
            self._check_batch([request for request in waiting if request.status is Status.RUNNING])
            self._count_turn(key_of(self.batch[0]))

    @precondition(lambda self: self.batch)
    @rule(failing=st.integers(0, 20), decoding=st.sets(st.integers(0, 5)))
    def postprocess(self, failing: int, decoding: set[int]) -> None:
        """The step ends; some of the pictures are still to be made."""
        bad = [request for index, request in enumerate(self.batch) if index == failing]
        outputs = [
            replace(output, image=None) if index in decoding else output
            for index, output in enumerate(step_outputs(self.batch, bad))
        ]
        for output in self.scheduler.postprocess(outputs):
            self._count_ending(output.request, Status.FAILED if output.request in bad else Status.FINISHED)
        self.batch = []

    @precondition(lambda self: self.batch)
    @rule()
    def break_batch(self) -> None:
        """The engine raises."""
        if len(self.batch) > 1:
            self.scheduler.isolate(self.batch)
        elif self.scheduler.fail(self.batch[0]):
            self._count_ending(self.batch[0], Status.FAILED)
        self.batch = []

    @rule(request=requests)
    def develop(self, request: Request) -> None:
        """A picture is ready, unless nobody waits for it."""
        was_decoding = request.status is Status.DECODING
        if was_decoding or not request.is_live:
            outputs = self.scheduler.postprocess([RequestOutput(request, request.params.num_steps, image=PIXELS)])
            assert bool(outputs) == was_decoding
        if was_decoding:
            self._count_ending(request, Status.FINISHED)

    @invariant()
    def every_request_is_live_or_ended_once(self) -> None:
        for request in self.accepted:
            assert self.endings[request.id] == (0 if request.is_live else 1)

    @invariant()
    def the_counts_are_right(self) -> None:
        statuses = Counter(request.status for request in self.accepted)
        assert self.scheduler.num_waiting == statuses[Status.WAITING]
        assert self.scheduler.num_running == statuses[Status.RUNNING]
        assert self.scheduler.num_decoding == statuses[Status.DECODING]
        assert set(self.scheduler.live_requests) == {request for request in self.accepted if request.is_live}

    @invariant()
    def note_who_is_busy(self) -> None:
        busy = {key_of(r) for r in self.accepted if r.status in (Status.WAITING, Status.RUNNING)}
        self.turns_since = {key: self.turns_since.get(key, Counter()) for key in busy}
        self.most_busy = {key: max(self.most_busy.get(key, 0), len(busy)) for key in busy}

    def teardown(self) -> None:
        """What is there comes to its end."""
        for _ in range(10_000):
            if self.batch:
                self.postprocess(failing=99, decoding=set())
            self.schedule()
            self.note_who_is_busy()
            for request in self.accepted:
                self.develop(request)
            if self.scheduler.is_idle:
                break
        assert self.scheduler.is_idle
        self.every_request_is_live_or_ended_once()

    def _check_batch(self, started: Sequence[Request]) -> None:
        (key,) = {key_of(request) for request in self.batch}
        num_rows, max_rows = num_rows_of(self.batch), self.scheduler.max_rows(self.batch[0].params.pixels)
        assert num_rows <= max_rows <= MAX_ROWS
        assert all(request.status is Status.RUNNING for request in self.batch)
        others = [request for request in self.accepted if request not in self.batch and key_of(request) == key]
        resting = [request for request in others if request.status is Status.RUNNING]
        waiting = sorted((r for r in others if r.status is Status.WAITING), key=lambda request: request.rank)
        assert not (resting and started), "one that waited went before one that had started"
        assert resting or not waiting or num_rows + waiting[0].params.num_rows > max_rows, "a row was left free"
        assert all(request.rank < other.rank for request in started for other in waiting), "somebody was overtaken"

    def _count_turn(self, served: Hashable) -> None:
        for key, turns in self.turns_since.items():
            if key != served:
                turns[served] += 1
                assert turns[served] <= TURNS_OF_ANOTHER
                assert turns.total() <= (self.most_busy[key] - 1) * TURNS_OF_ANOTHER
        self.turns_since.pop(served)
        self.most_busy.pop(served)

    def _count_ending(self, request: Request, status: Status) -> None:
        self.endings[request.id] += 1
        assert request.status is status


def key_of(request: Request) -> Hashable:
    return request.id if request.is_suspect else batch_key(request.params)


def num_rows_of(requests: Iterable[Request]) -> int:
    return sum(request.params.num_rows for request in requests)


AnyTraffic.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestAnyTraffic = AnyTraffic.TestCase
