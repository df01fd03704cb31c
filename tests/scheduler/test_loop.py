import queue
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from scheduler import loop
from scheduler.cost import CostModel
from scheduler.engine import OnStep, RequestOutput, StepOutput
from scheduler.fake_engine import FAILING_PROMPT, RAISING_PROMPT, FakeEngine
from scheduler.loop import NUM_EXPECTED, Inbox, Loop, Stop
from scheduler.messages import Abort, Cancelled, Drain, Failed, Started, StepStats, WorkerConfig
from scheduler.outbox import FinalPicture, Outgoing, PreviewPicture
from scheduler.request import Request
from scheduler.worker import make_scheduler
from tests.scheduler.harness import make_config, make_params


class Rig:
    """A loop with a fake engine, stepped by hand, and all that it emitted."""

    def __init__(self, config: WorkerConfig | None = None, engine: FakeEngine | None = None) -> None:
        config = config or make_config()
        self.inbox: Inbox = queue.SimpleQueue()
        self.lists: list[Sequence[Outgoing]] = []
        self.on_emit: Callable[[], None] = lambda: None
        self.engine = engine or FakeEngine(config)
        self.loop = Loop(self.engine, make_scheduler(config, CostModel(self.engine.info)), self.inbox, self.emit)

    def emit(self, items: Sequence[Outgoing]) -> None:
        self.lists.append(items)
        self.on_emit()

    @property
    def emitted(self) -> list[Outgoing]:
        return [item for items in self.lists for item in items]

    def add(self, request_id: str, arrived_at: float | None = None, **changes: object) -> Request:
        now = time.monotonic() if arrived_at is None else arrived_at
        request = Request(request_id, make_params(**changes), now)
        self.inbox.put(request)
        return request

    def run_dry(self) -> None:
        self.inbox.put(Drain())
        self.loop.run()

    def story(self, request_id: str) -> list[str]:
        """What was emitted about a request, in order."""
        return [name for item in self.emitted if (name := _tell(item, request_id))]

    @property
    def stats(self) -> list[StepStats]:
        return [item for item in self.emitted if isinstance(item, StepStats)]


def _tell(item: Outgoing, request_id: str) -> str:
    match item:
        case PreviewPicture(request, _, step) if request.id == request_id:
            return f"preview {step}"
        case FinalPicture(request) if request.id == request_id:
            return "image"
        case Started(subject) | Cancelled(subject) if subject == request_id:
            return type(item).__name__.lower()
        case Failed(subject, code, message) if subject == request_id:
            return f"{code}: {message}"
    return ""


@pytest.mark.parametrize("batching", ["step", "call"])
def test_the_story_of_a_request(batching: str) -> None:
    rig = Rig(make_config(batching=batching, call_wait_ms=0))
    rig.add("a", num_steps=4, preview_every=2)
    rig.run_dry()
    assert rig.story("a") == ["started", "preview 1", "preview 3", "image"]
    assert rig.engine.known == {}
    assert rig.loop.step_counter == 4


def test_a_request_joins_between_two_steps_of_another() -> None:
    rig = Rig()
    rig.add("early", num_steps=3)
    rig.loop.step()
    rig.add("late", num_steps=3)
    rig.loop.step()
    assert [stats.batch_size for stats in rig.stats] == [1, 2]
    assert rig.story("late") == ["started", "preview 1"]


def test_while_the_device_has_enough_to_do_the_batch_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """And pictures that become ready meanwhile are told of."""
    darkroom = threading.Semaphore(0)
    rig = Rig(engine=FakeEngine(make_config(), darkroom=darkroom))
    rig.add("early", num_steps=3)
    rig.loop.step()
    with monkeypatch.context() as patch:
        patch.setattr(rig.engine, "seconds_to_spare", lambda: 1e-3)
        rig.add("late", num_steps=3)
        rig.loop.step()
        darkroom.release()
        rig.loop.step()
    assert [rig.story("early"), rig.story("late")] == [["started", "preview 1"], []]
    rig.loop.step()
    assert [stats.batch_size for stats in rig.stats] == [1, 2]


@pytest.mark.parametrize("phase", ["waiting", "running"])
def test_an_aborted_request_is_cancelled_and_released(phase: str) -> None:
    rig = Rig()
    rig.add("a")
    if phase == "running":
        rig.loop.step()
    rig.inbox.put(Abort("a"))
    rig.inbox.put(Abort("a"))
    rig.inbox.put(Abort("nobody"))
    rig.run_dry()
    assert rig.story("a") == [*(["started", "preview 1"] if phase == "running" else []), "cancelled"]
    assert rig.engine.known == {}


def test_an_abort_frees_its_row_within_one_step() -> None:
    rig = Rig(make_config(max_rows=2))
    rig.add("a", num_steps=50)
    rig.add("b")
    rig.loop.step()
    rig.inbox.put(Abort("a"))
    rig.loop.step()
    assert rig.story("b") == ["started", "preview 1"]


def test_a_pipeline_call_breathes_at_every_step() -> None:
    rig = Rig(make_config(batching="call", call_wait_ms=0))
    rig.add("a", num_steps=4)
    rig.add("b", num_steps=4)

    def abort_after_two_steps() -> None:
        if rig.loop.step_counter == 2:
            rig.inbox.put(Abort("a"))

    rig.on_emit = abort_after_two_steps
    rig.run_dry()
    assert rig.story("a") == ["started", "preview 1", "preview 2", "preview 3", "cancelled"]
    assert rig.story("b") == ["started", "preview 1", "preview 2", "preview 3", "image"]


def test_a_request_that_fails_fails_alone() -> None:
    rig = Rig()
    rig.add("bad", prompt=FAILING_PROMPT)
    rig.add("good", num_steps=2)
    rig.run_dry()
    assert rig.story("bad") == ["started", "engine_error: the fake engine was asked to fail this request"]
    assert rig.story("good") == ["started", "preview 1", "image"]
    assert rig.engine.known == {}


@pytest.mark.parametrize("batching", ["step", "call"])
def test_of_a_batch_that_raises_only_the_one_at_fault_fails(batching: str) -> None:
    rig = Rig(make_config(batching=batching, call_wait_ms=0))
    rig.add("bad", prompt=RAISING_PROMPT)
    rig.add("neighbour")
    rig.add("other", width=128, num_steps=2)
    rig.run_dry()
    assert rig.story("bad") == ["started", "engine_error: RuntimeError: the fake engine was asked to raise"]
    assert rig.story("neighbour") == ["started", "preview 1", "preview 2", "preview 3", "image"]
    assert rig.story("other") == ["started", "preview 1", "image"]
    assert rig.engine.known == {}


def test_whoever_was_under_way_in_a_batch_that_raises_starts_afresh() -> None:
    rig = Rig()
    rig.add("early", num_steps=4)
    rig.loop.step()
    rig.loop.step()
    rig.add("bad", prompt=RAISING_PROMPT)
    rig.loop.step()
    assert rig.engine.known == {}
    rig.run_dry()
    assert rig.story("early") == ["started", "preview 1", "preview 2", "preview 3", "image"]
    assert rig.loop.step_counter == 2 + 4


class TestPicturesBesideTheSteps:
    def make_rig(self, **changes: object) -> tuple[Rig, threading.Semaphore]:
        config, darkroom = make_config(**changes), threading.Semaphore(0)
        return Rig(config, FakeEngine(config, darkroom=darkroom)), darkroom

    def test_the_next_request_takes_the_rows_while_a_picture_is_made(self) -> None:
        rig, darkroom = self.make_rig(max_rows=2)
        rig.add("a", num_steps=1)
        rig.add("b", num_steps=1)
        rig.loop.step()
        rig.loop.step()
        assert [rig.story("a"), rig.story("b")] == [["started"], ["started"]]
        assert [(stats.running, stats.waiting) for stats in rig.stats] == [(0, 1), (0, 0)]
        darkroom.release()
        rig.loop.step()
        assert [rig.story("a"), rig.story("b")] == [["started", "image"], ["started"]]
        darkroom.release()
        rig.run_dry()
        assert rig.story("b") == ["started", "image"]

    @pytest.mark.parametrize("batching", ["step", "call"])
    def test_all_of_it_comes_and_in_order(self, batching: str) -> None:
        rig, darkroom = self.make_rig(batching=batching, call_wait_ms=0)
        rig.add("a", num_steps=4)
        rig.loop.step()
        darkroom.release(4)
        rig.run_dry()
        assert rig.story("a") == ["started", "preview 1", "preview 2", "preview 3", "image"]

    def test_it_comes_in_the_midst_of_a_pipeline_call(self) -> None:
        rig, darkroom = self.make_rig(batching="call", call_wait_ms=0)
        rig.add("before", num_steps=1)
        rig.loop.step()
        rig.add("a", num_steps=3)
        told: dict[int, list[str]] = {}

        def develop() -> None:
            told[rig.loop.step_counter] = [*rig.story("before"), *rig.story("a")]
            darkroom.release()

        rig.on_emit = develop
        rig.loop.step()
        assert told[2] == ["started", "image", "started"]
        assert told[3] == ["started", "image", "started", "preview 1"]

    def test_an_arrival_does_not_wait_for_a_picture(self) -> None:
        rig, _ = self.make_rig()
        rig.add("a", num_steps=1)
        rig.loop.step()
        rig.loop.step()
        rig.add("b", num_steps=2)
        rig.loop.step()
        assert rig.story("b") == ["started"]
        assert [stats.batch_size for stats in rig.stats] == [1, 1]

    def test_a_preview_counts_in_the_step_after_it(self) -> None:
        rig, darkroom = self.make_rig()
        rig.add("a", num_steps=3)
        for _ in range(3):
            rig.loop.step()
            darkroom.release()
        assert [stats.previews for stats in rig.stats] == [0, 0, 1]

    def test_a_request_can_leave_before_its_picture_is_made(self) -> None:
        rig, _ = self.make_rig()
        rig.add("a", num_steps=1)
        rig.loop.step()
        rig.inbox.put(Abort("a"))
        rig.run_dry()
        assert rig.story("a") == ["started", "cancelled"]
        assert rig.engine.known == {}

    def test_those_who_wait_for_a_picture_fail_if_it_cannot_be_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def collect(**_: bool) -> Sequence[RequestOutput]:
            raise RuntimeError("the device is gone")

        rig, darkroom = self.make_rig()
        rig.add("denoised", num_steps=1)
        rig.add("running", num_steps=2)
        with monkeypatch.context() as patch:
            patch.setattr(rig.engine, "collect", collect)
            rig.loop.step()
        darkroom.release(3)
        rig.run_dry()
        assert rig.story("denoised") == ["started", "engine_error: RuntimeError: the device is gone"]
        assert rig.story("running") == ["started", "preview 1", "image"]


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class TestDeadlines:
    LATE = (
        "deadline: The image could not be finished within 5 s. "
        "Allow more time, or ask for fewer steps or a smaller image."
    )

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Clock:
        clock = Clock()
        monkeypatch.setattr(loop, "time", clock)
        return clock

    def test_a_request_that_cannot_be_in_time_never_starts(self, clock: Clock) -> None:
        rig = Rig(make_config(max_rows=2))
        rig.add("a", arrived_at=clock.now, num_steps=9)
        rig.add("b", arrived_at=clock.now, deadline=5.0)
        rig.add("c", arrived_at=clock.now, deadline=9.0, num_steps=1)
        rig.loop.step()
        clock.now += 5
        rig.run_dry()
        assert rig.story("b") == [self.LATE]
        assert rig.story("c") == ["started", "image"]

    @pytest.mark.parametrize(("batching", "steps"), [("step", 2), ("call", 3)])
    def test_one_that_is_under_way_ends_within_a_step(self, clock: Clock, batching: str, steps: int) -> None:
        rig = Rig(make_config(batching=batching, call_wait_ms=0))
        rig.on_emit = lambda: setattr(clock, "now", clock.now + 2)
        rig.add("a", arrived_at=clock.now, deadline=5.0, num_steps=9)
        rig.run_dry()
        assert rig.story("a") == ["started", *(f"preview {step}" for step in range(1, steps + 1)), self.LATE]
        assert rig.engine.known == {}

    def test_one_whose_picture_is_late_ends_too(self, clock: Clock) -> None:
        rig = Rig(engine=FakeEngine(make_config(), darkroom=threading.Semaphore(0)))
        rig.add("a", arrived_at=clock.now, deadline=5.0, num_steps=1)
        rig.loop.step()
        clock.now += 5
        rig.run_dry()
        assert rig.story("a") == ["started", self.LATE]


class TestOutOfMemory:
    def test_the_cap_falls_to_what_fits_from_the_next_step_on(self) -> None:
        rig = Rig(engine=FakeEngine(make_config(max_rows=8), fitting_rows=3))
        for request_id in "abcd":
            rig.add(request_id, num_steps=2)
        rig.run_dry()
        assert [(s.num_rows, s.max_rows, s.out_of_memory) for s in rig.stats] == [(8, 8, 2), *[(2, 2, 0)] * 4]
        assert {rig.story(request_id)[-1] for request_id in "abcd"} == {"image"}

    def test_a_request_that_does_not_fit_alone_fails_with_the_reason(self) -> None:
        rig = Rig(engine=FakeEngine(make_config(), fitting_rows=1))
        rig.add("guided")
        rig.add("plain", guidance_scale=1.0, num_steps=1)
        rig.run_dry()
        assert rig.story("guided") == ["started", "out_of_memory: it does not fit into memory"]
        assert rig.story("plain") == ["started", "image"]


def test_the_numbers_of_a_step() -> None:
    rig = Rig(make_config(max_rows=4))
    rig.add("guided", guidance_scale=5.0)
    rig.add("plain", guidance_scale=1.0)
    rig.add("waits", guidance_scale=5.0)
    rig.loop.step()
    (stats,) = rig.stats
    assert (stats.step_counter, stats.batch_size, stats.num_rows, stats.max_rows) == (1, 2, 3, 4)
    assert (stats.useful_pixels, stats.padded_pixels, stats.padded_rows) == (3 * 64 * 64, 0, 0)
    assert (stats.waiting, stats.running, stats.previews) == (1, 2, 2)
    assert stats.duration == stats.stages["unet"] > 0


def test_the_engine_is_told_who_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(make_config(max_rows=2))
    told: list[list[str]] = []
    monkeypatch.setattr(rig.engine, "expect", lambda requests: told.append([request.id for request in requests]))
    for index in range(NUM_EXPECTED + 2):
        rig.add(str(index), num_steps=1, guidance_scale=5.0)
    rig.add("urgent", num_steps=1, priority=1, width=128)
    rig.loop.step()
    assert told == [["urgent", *(str(number) for number in range(1, NUM_EXPECTED))]]


def test_what_the_engine_counts_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()

    def run(batch: Sequence[Request], on_step: OnStep) -> None:
        outputs = [RequestOutput(request, 1) for request in batch]
        on_step(StepOutput(outputs, 2, 0.5, {"unet": 0.4}, 6, 7, 8, out_of_memory=9, prompt_hits=10, prompt_misses=11))

    monkeypatch.setattr(rig.engine, "run", run)
    rig.add("a")
    rig.loop.step()
    (stats,) = rig.stats
    assert (stats.duration, stats.stages, stats.padded_rows, stats.padded_pixels) == (
        0.5,
        {"unet": 0.4},
        6,
        6 * 64 * 64,
    )
    assert (stats.memory_used, stats.memory_total, stats.out_of_memory) == (7, 8, 9)
    assert (stats.prompt_hits, stats.prompt_misses) == (10, 11)


def test_a_step_is_told_in_one_list_and_a_start_before_it() -> None:
    rig = Rig()
    rig.add("a", num_steps=3)
    rig.add("b", num_steps=3)
    rig.loop.step()
    rig.inbox.put(Abort("b"))
    rig.loop.step()
    kinds = [[type(item).__name__ for item in items] for items in rig.lists]
    assert kinds == [
        ["Started", "Started"],
        ["PreviewPicture", "PreviewPicture", "StepStats"],
        ["Cancelled"],
        ["PreviewPicture", "StepStats"],
    ]


def test_an_idle_loop_sleeps_until_something_arrives() -> None:
    rig = Rig()
    thread = threading.Thread(target=rig.loop.run)
    thread.start()
    rig.add("a", num_steps=1)
    rig.inbox.put(Drain())
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert rig.story("a") == ["started", "image"]


def test_call_mode_wakes_up_by_itself_when_nobody_else_comes() -> None:
    rig = Rig(make_config(batching="call", call_wait_ms=20))
    request = rig.add("a", num_steps=1)
    rig.loop.step()
    rig.loop.step()
    assert rig.story("a") == ["started", "image"]
    assert request.started_at is not None
    assert request.started_at - request.arrived_at >= 0.02


def test_stop_gives_everything_up() -> None:
    rig = Rig(make_config(max_rows=2))
    rig.add("running", num_steps=50)
    rig.add("waiting")
    rig.loop.step()
    rig.inbox.put(Stop())
    rig.loop.run()
    assert rig.loop.step_counter == 1
    assert rig.engine.known == {}
