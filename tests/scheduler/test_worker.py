import asyncio
import io
import threading
from collections.abc import Callable

import pytest
from PIL import Image

from scheduler.client import Client
from scheduler.engine import DeviceLost, Engine, LoadError
from scheduler.fake_engine import FAILING_PROMPT, RAISING_PROMPT, FakeEngine, colour_of
from scheduler.messages import (
    Cancelled,
    Failed,
    Finished,
    Heartbeat,
    Loading,
    Preview,
    Ready,
    Report,
    RequestEvent,
    Started,
    StartFailed,
    StepStats,
    WorkerConfig,
)
from scheduler.request import GenerateParams
from scheduler.worker import LoadEngine
from tests.scheduler.harness import TIMEOUT, attached_worker, collect, make_config, make_params, run_worker


def gated(gate: threading.Semaphore) -> LoadEngine:
    return lambda config, _: FakeEngine(config, gate)


def colour_in(data: bytes) -> tuple[int, ...]:
    return tuple(Image.open(io.BytesIO(data)).convert("RGB").resize((1, 1)).tobytes())


def is_near(colour: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return all(abs(one - two) <= 4 for one, two in zip(colour, other, strict=True))


@pytest.mark.parametrize("batching", ["step", "call"])
async def test_every_client_gets_its_own_picture(batching: str) -> None:
    client = Client()
    params = [
        make_params(seed=seed, num_steps=4 + seed % 3, width=64 + 64 * (seed % 2), guidance_scale=float(seed % 4))
        for seed in range(32)
    ]
    async with attached_worker(client, make_config(batching=batching, max_rows=8, call_wait_ms=5)):
        stories = await asyncio.gather(*(collect(client.generate(str(p.seed), p)) for p in params))
    for asked, story in zip(params, stories, strict=True):
        _check_story(asked, story)


def _check_story(asked: GenerateParams, story: list[RequestEvent]) -> None:
    started, *previews, last = story
    assert isinstance(started, Started)
    assert isinstance(last, Finished)
    assert (last.width, last.height) == (asked.width, asked.height)
    assert is_near(colour_in(last.data), colour_of(asked.seed))
    for event in previews:
        assert isinstance(event, Preview)
        colour = tuple(round(128 + (c - 128) * event.step / asked.num_steps) for c in colour_of(asked.seed))
        assert event.total_steps == asked.num_steps
        assert is_near(colour_in(event.data), colour)


class Stepper:
    """Lets the engine of a worker make one step after the other."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.client = Client(self._listen)
        self._stats: asyncio.Queue[StepStats] = asyncio.Queue()

    async def step(self) -> StepStats:
        self.gate.release()
        async with asyncio.timeout(TIMEOUT):
            return await self._stats.get()

    async def step_until(self, is_true: Callable[[StepStats], bool], limit: int = 100) -> None:
        """What was sent to the worker takes a few steps to come over the socket."""
        for _ in range(limit):
            if is_true(await self.step()):
                return
        pytest.fail(f"not after {limit} steps")

    def _listen(self, _: str, report: Report) -> None:
        if isinstance(report, StepStats):
            self._stats.put_nowait(report)


async def test_a_late_request_joins_a_running_batch() -> None:
    stepper = Stepper()
    async with attached_worker(stepper.client, load=gated(stepper.gate)):
        early = stepper.client.generate("early", make_params(num_steps=200))
        assert (await stepper.step()).batch_size == 1
        late = stepper.client.generate("late", make_params(num_steps=3))
        await stepper.step_until(lambda stats: stats.batch_size == 2)
        stepper.gate.release(200)
        assert [type((await collect(events))[-1]) for events in (early, late)] == [Finished, Finished]


async def test_abort_in_mid_generation_frees_the_row() -> None:
    stepper = Stepper()
    async with attached_worker(stepper.client, make_config(max_rows=2), gated(stepper.gate)):
        first = stepper.client.generate("first", make_params(num_steps=200))
        second = stepper.client.generate("second", make_params(num_steps=1))
        assert (await stepper.step()).batch_size == 1
        stepper.client.abort("first")
        await stepper.step_until(lambda stats: stats.running == 0)
        assert (await collect(first))[-1] == Cancelled("first")
        assert isinstance((await collect(second))[-1], Finished)


async def test_a_fault_ends_its_own_requests_and_the_worker_goes_on() -> None:
    client = Client()
    async with attached_worker(client):
        bad = client.generate("bad", make_params(prompt=FAILING_PROMPT))
        worse = client.generate("worse", make_params(prompt=RAISING_PROMPT))
        good = client.generate("good", make_params())
        endings = [(await collect(events))[-1] for events in (bad, worse, good)]
        assert [type(ending) for ending in endings] == [Failed, Failed, Finished]
        assert isinstance((await collect(client.generate("next", make_params())))[-1], Finished)


async def test_drain_finishes_what_was_accepted() -> None:
    gate = threading.Semaphore(0)
    client = Client()
    async with attached_worker(client, make_config(max_rows=2), gated(gate)) as serving:
        stories = [client.generate(str(index), make_params()) for index in range(3)]
        client.drain("worker-0")
        gate.release(100)
        assert [type((await collect(events))[-1]) for events in stories] == [Finished] * 3
        async with asyncio.timeout(TIMEOUT):
            assert await serving == 0


async def test_start_up_is_told() -> None:
    reports: list[Report] = []
    client = Client(lambda _, report: reports.append(report))
    async with attached_worker(client, make_config(max_rows=6)) as serving:
        client.drain("worker-0")
        assert await serving == 0
    told = [report for report in reports if not isinstance(report, Heartbeat)]
    assert told == [Loading("loading the fake engine"), Ready(FakeEngine(make_config(max_rows=6)).info)]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LoadError("no such folder: /x; pass --model"), "no such folder: /x; pass --model"),
        (KeyError("unet"), "KeyError: 'unet'"),
    ],
)
async def test_a_start_that_fails_says_why(error: Exception, message: str) -> None:
    def load(_: WorkerConfig, __: Callable[[str], None]) -> Engine:
        raise error

    reports: list[Report] = []
    client = Client(lambda _, report: reports.append(report))
    async with run_worker(client, load=load) as serving, asyncio.timeout(TIMEOUT):
        assert await serving == 1
    assert StartFailed(message) in reports
    assert not client.is_ready


async def test_the_heart_beats_while_the_engine_is_stuck() -> None:
    beat = asyncio.Event()

    def listen(_: str, report: Report) -> None:
        if isinstance(report, Heartbeat) and report.running == 1:
            beat.set()

    gate = threading.Semaphore(0)
    client = Client(listen)
    async with attached_worker(client, load=gated(gate)), asyncio.timeout(TIMEOUT):
        client.generate("a", make_params())
        await beat.wait()
        gate.release(10)


async def test_an_engine_thread_that_breaks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def release(_: FakeEngine, __: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(FakeEngine, "release", release)
    client = Client()

    async def use_it() -> None:
        async with attached_worker(client) as serving:
            await collect(client.generate("a", make_params(num_steps=1)))
            await asyncio.wait([serving])

    with pytest.raises(RuntimeError, match="out of order"):
        await use_it()


async def test_a_lost_device_ends_the_worker_and_its_requests_know(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: FakeEngine, *__: object) -> None:
        raise DeviceLost("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(FakeEngine, "run", run)
    client = Client()
    stories = []

    async def use_it() -> None:
        async with attached_worker(client):
            stories.append(await collect(client.generate("a", make_params())))

    with pytest.raises(DeviceLost, match="illegal memory access"):
        await use_it()
    ((*_, failed),) = stories
    assert isinstance(failed, Failed)
    assert failed.code == "worker_lost"
