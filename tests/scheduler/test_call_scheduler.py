from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from scheduler.call_scheduler import CallScheduler
from scheduler.request import Request, call_key
from tests.scheduler.harness import make_params
from tests.scheduler.test_scheduler import step_output


def make_request(request_id: str, arrived_at: float = 0.0, **changes: object) -> Request:
    return Request(request_id, make_params(**changes), arrived_at)


def make_scheduler(requests: Iterable[Request] = (), max_rows: int = 32, max_batch: int = 4) -> CallScheduler:
    scheduler = CallScheduler(max_rows, max_batch, max_wait=0.05)
    for request in requests:
        scheduler.add(request)
    return scheduler


def run_call(scheduler: CallScheduler, now: float) -> Sequence[Request]:
    batch = scheduler.schedule(now)
    while any(request.is_live for request in batch):
        scheduler.postprocess(step_output([request for request in batch if request.is_live]))
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
    scheduler = make_scheduler([make_request("a", 10.0), make_request("b", 10.04)])
    assert ids(scheduler.schedule(10.051)) == ["a", "b"]


def test_a_full_batch_goes_at_once() -> None:
    scheduler = make_scheduler(make_request(str(index), 10.0) for index in range(5))
    assert scheduler.seconds_to_next(10.0) == 0.0
    assert ids(scheduler.schedule(10.0)) == ["0", "1", "2", "3"]
    assert (scheduler.num_waiting, scheduler.num_running) == (1, 4)


def test_rows_bound_a_batch_too() -> None:
    scheduler = make_scheduler((make_request(str(index)) for index in range(4)), max_rows=5)
    assert ids(scheduler.schedule(0.0)) == ["0", "1"]


def test_only_equal_calls_are_gathered() -> None:
    requests = [make_request("a", 0.0), make_request("b", 0.01, num_steps=5), make_request("c", 0.02)]
    scheduler = make_scheduler(requests)
    assert ids(run_call(scheduler, 1.0)) == ["a", "c"]
    assert ids(run_call(scheduler, 1.0)) == ["b"]
    assert scheduler.is_idle


def test_the_batch_with_the_oldest_request_goes_first() -> None:
    """However many full batches of another kind there are."""
    young = [make_request(str(index), 0.01) for index in range(8)]
    scheduler = make_scheduler([*young, make_request("oldest", 0.0, num_steps=5)])
    assert ids(run_call(scheduler, 0.06)) == ["oldest"]


def test_abort_before_and_during_the_call() -> None:
    first, second = make_request("a"), make_request("b")
    scheduler = make_scheduler([first, second])
    scheduler.abort("a")
    batch = scheduler.schedule(1.0)
    assert ids(batch) == ["b"]
    scheduler.abort("b")
    assert scheduler.postprocess(step_output(batch)) == []
    assert scheduler.is_idle
    assert scheduler.schedule(2.0) == []


@given(st.lists(st.tuples(st.sampled_from([1.0, 5.0]), st.sampled_from([2, 3])), max_size=40), st.integers(2, 9))
def test_every_request_is_in_one_batch_that_can_be_one_call(asked: list[tuple[float, int]], max_rows: int) -> None:
    requests = [
        make_request(str(index), float(index), guidance_scale=guidance_scale, num_steps=num_steps)
        for index, (guidance_scale, num_steps) in enumerate(asked)
    ]
    scheduler = make_scheduler(requests, max_rows=max_rows)
    seen: list[str] = []
    while not scheduler.is_idle:
        batch = run_call(scheduler, now=1000.0)
        assert len({call_key(request.params) for request in batch}) == 1
        assert len(batch) <= 4
        assert sum(request.params.num_rows for request in batch) <= max_rows
        seen += ids(batch)
    assert sorted(seen) == sorted(ids(requests))
