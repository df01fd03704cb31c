import queue
import threading
from collections.abc import Sequence

import pytest

from scheduler.fake_engine import FAILING_PROMPT, RAISING_PROMPT, FakeEngine
from scheduler.loop import Inbox, Loop, Stop
from scheduler.messages import Abort, Cancelled, Drain, Failed, Started, StepStats, WorkerConfig
from scheduler.outbox import FinalPicture, Outgoing, PreviewPicture
from scheduler.request import Request
from scheduler.worker import make_scheduler
from tests.scheduler.harness import make_config, make_params


class Rig:
    """A loop with a fake engine, stepped by hand, and all that it emitted."""

    def __init__(self, config: WorkerConfig | None = None) -> None:
        config = config or make_config()
        self.inbox: Inbox = queue.SimpleQueue()
        self.emitted: list[Outgoing] = []
        self.engine = FakeEngine(config)
        self.loop = Loop(self.engine, make_scheduler(config), self.inbox, self.emit)

    def emit(self, items: Sequence[Outgoing]) -> None:
        self.emitted += items

    def add(self, request_id: str, **changes: object) -> Request:
        request = Request(request_id, make_params(**changes))
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
    emit = rig.emit

    def abort_after_two_steps(items: Sequence[Outgoing]) -> None:
        emit(items)
        if rig.loop.step_counter == 2:
            rig.inbox.put(Abort("a"))

    rig.loop._emit = abort_after_two_steps
    rig.run_dry()
    assert rig.story("a") == ["started", "preview 1", "preview 2", "cancelled"]
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
def test_an_engine_that_raises_ends_that_batch_and_no_more(batching: str) -> None:
    rig = Rig(make_config(batching=batching, call_wait_ms=0))
    rig.add("bad", prompt=RAISING_PROMPT)
    rig.add("neighbour")
    rig.add("other", width=128, num_steps=2)
    rig.run_dry()
    reason = "engine_error: RuntimeError: the fake engine was asked to raise"
    assert rig.story("bad") == rig.story("neighbour") == ["started", reason]
    assert rig.story("other") == ["started", "preview 1", "image"]
    assert rig.engine.known == {}


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
