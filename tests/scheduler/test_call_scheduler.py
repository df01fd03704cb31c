from collections import Counter
from collections.abc import Iterable, Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from scheduler.call_scheduler import CallScheduler
from scheduler.request import AGEING, Request, Status, call_key
from tests.scheduler.harness import make_params
from tests.scheduler.test_scheduler import make_cost, num_rows_of, step_outputs

MAX_BATCH = 4
MAX_WAIT = 0.05


def make_request(request_id: str, arrived_at: float = 0.0, **changes: object) -> Request:
    return Request(request_id, make_params(**changes), arrived_at)


def make_scheduler(requests: Iterable[Request] = (), max_rows: int = 32) -> CallScheduler:
    scheduler = CallScheduler(make_cost(max_rows), MAX_BATCH, MAX_WAIT)
    for request in requests:
        scheduler.add(request)
    return scheduler


def run_call(scheduler: CallScheduler, now: float) -> Sequence[Request]:
    batch = scheduler.schedule(now)
    while any(request.is_live for request in batch):
        scheduler.postprocess(step_outputs([request for request in batch if request.is_live]))
    return batch


def ids(requests: Iterable[Request]) -> list[str]:
    return [request.id for request in requests]


def test_a_lone_request_waits_for_company_from_its_arrival() -> None:
    scheduler = make_scheduler([make_request("a", arrived_at=10.0)])
    assert scheduler.schedule(10.02) == []
    assert abs((scheduler.seconds_to_next(10.02) or 0) - 0.03) < 1e-9
    assert ids(scheduler.schedule(10.051)) == ["a"]
    assert scheduler.seconds_to_next(10.051) is None


def test_the_oldest_sets_the_time_for_all() -> None:
    scheduler = make_scheduler([make_request("a", 10.0), make_request("b", 10.04, priority=1)])
    assert ids(scheduler.schedule(10.051)) == ["b", "a"]


def test_a_full_batch_goes_at_once() -> None:
    scheduler = make_scheduler(make_request(str(index), 10.0) for index in range(5))
    assert scheduler.seconds_to_next(10.0) == 0.0
    assert ids(scheduler.schedule(10.0)) == ["0", "1", "2", "3"]
    assert (scheduler.num_waiting, scheduler.num_running) == (1, 4)


def test_rows_bound_a_batch_too() -> None:
    scheduler = make_scheduler((make_request(str(index)) for index in range(4)), max_rows=7)
    assert ids(scheduler.schedule(0.0)) == ["0", "1", "2"]
    scheduler.limit_rows(64 * 64, 2)
    assert ids(scheduler.schedule(1.0)) == ["3"]


def test_only_equal_calls_are_gathered() -> None:
    requests = [make_request("a", 0.0), make_request("b", 0.01, num_steps=5), make_request("c", 0.02)]
    scheduler = make_scheduler(requests)
    assert ids(run_call(scheduler, 1.0)) == ["a", "c"]
    assert ids(run_call(scheduler, 1.0)) == ["b"]
    assert scheduler.is_idle


def test_the_batch_with_the_oldest_request_goes_first() -> None:
    """However many full batches of another kind there are."""
    young = [make_request(str(index), 0.01) for index in range(8)]
    scheduler = make_scheduler([make_request("oldest", 0.0, num_steps=5), *young])
    assert ids(run_call(scheduler, 0.06)) == ["oldest"]


def test_a_priority_counts_within_a_batch_and_between_batches() -> None:
    scheduler = make_scheduler(make_request(str(index)) for index in range(AGEING))
    scheduler.add(make_request("urgent, of another kind", num_steps=5, priority=2))
    scheduler.add(make_request("urgent", priority=1))
    assert ids(run_call(scheduler, 1.0)) == ["urgent, of another kind"]
    assert ids(run_call(scheduler, 1.0)) == ["0", "1", "urgent", "2"]


def test_abort_before_and_during_the_call() -> None:
    scheduler = make_scheduler([make_request("a"), make_request("b")])
    scheduler.abort("a")
    batch = scheduler.schedule(1.0)
    assert ids(batch) == ["b"]
    scheduler.abort("b")
    assert scheduler.postprocess(step_outputs(batch)) == []
    assert scheduler.is_idle
    assert scheduler.schedule(2.0) == []


def test_after_a_call_that_failed_each_request_gets_a_call_of_its_own() -> None:
    scheduler = make_scheduler(make_request(str(index)) for index in range(3))
    batch = scheduler.schedule(1.0)
    scheduler.postprocess(step_outputs(batch))
    scheduler.isolate(batch)
    assert {(request.status, request.steps_done) for request in batch} == {(Status.WAITING, 0)}
    assert [ids(run_call(scheduler, 1.0)) for _ in range(3)] == [["0"], ["1"], ["2"]]


class AnyTraffic(RuleBasedStateMachine):
    """Requests come and are aborted at any moment, also in the midst of a call."""

    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.scheduler = make_scheduler(max_rows=9)
        self.accepted: list[Request] = []
        self.endings: Counter[str] = Counter()
        self.batch: Sequence[Request] = []

    @rule(
        target=requests,
        guidance_scale=st.sampled_from([1.0, 5.0]),
        num_steps=st.sampled_from([2, 3]),
        priority=st.integers(-1, 1),
        deadline=st.none() | st.floats(0.01, 1.0),
    )
    def add(self, **changes: object) -> Request:
        request = make_request(str(len(self.accepted)), self.now, **changes)
        self.scheduler.add(request)
        self.accepted.append(request)
        return request

    @rule(request=requests)
    def abort(self, request: Request) -> None:
        if self.scheduler.abort(request.id) is not None:
            self.endings[request.id] += 1

    @rule(seconds=st.floats(0.0, 2 * MAX_WAIT))
    def expire(self, seconds: float) -> None:
        self.now += seconds
        self.endings.update(ids(self.scheduler.expire(self.now)))

    @precondition(lambda self: not self.batch)
    @rule()
    def schedule(self) -> None:
        waiting = [request for request in self.accepted if request.status is Status.WAITING]
        seconds = self.scheduler.seconds_to_next(self.now)
        self.batch = self.scheduler.schedule(self.now)
        assert bool(self.batch) == (seconds == 0.0)
        assert (seconds is None) == (not waiting)
        if self.batch:
            self._check_batch(waiting)

    @precondition(lambda self: self.batch)
    @rule()
    def step(self) -> None:
        running = [request for request in self.batch if request.status is Status.RUNNING]
        ended = self.scheduler.postprocess(step_outputs(running))
        self.endings.update(output.request.id for output in ended)
        self.batch = [request for request in running if request.status is Status.RUNNING]

    @precondition(lambda self: len(self.batch) > 1)
    @rule()
    def break_batch(self) -> None:
        self.scheduler.isolate(self.batch)
        self.batch = []

    @invariant()
    def every_request_is_live_or_ended_once(self) -> None:
        for request in self.accepted:
            assert self.endings[request.id] == (0 if request.is_live else 1)

    def teardown(self) -> None:
        while not self.scheduler.is_idle:
            self.now += MAX_WAIT
            if not self.batch:
                self.schedule()
            self.step()
        self.every_request_is_live_or_ended_once()

    def _check_batch(self, waiting: Sequence[Request]) -> None:
        keys = {request.id if request.is_suspect else call_key(request.params) for request in self.batch}
        assert len(keys) == 1
        assert len(self.batch) <= MAX_BATCH
        assert num_rows_of(self.batch) <= 9
        due = [request for request in waiting if request.arrived_at + MAX_WAIT <= self.now]
        first = min(request.rank for request in self.batch)
        assert all(first <= request.rank for request in due), "a call went without the one that had to be next"


AnyTraffic.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAnyTraffic = AnyTraffic.TestCase
