import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from scheduler import wire
from scheduler.client import Client, NotReady
from scheduler.cost import CostModel
from scheduler.fake_engine import FakeEngine
from scheduler.link import connect
from scheduler.messages import (
    Abort,
    Add,
    Cancelled,
    Command,
    Drain,
    Failed,
    Finished,
    Heartbeat,
    Loading,
    Preview,
    Ready,
    Report,
    Started,
)
from tests.scheduler.harness import TIMEOUT, attached_worker, collect, make_config, make_params

INFO = FakeEngine(make_config()).info


class ScriptedWorker:
    """The far end of a connection, played by the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._reported = asyncio.Event()

    def on_report(self, _: Report) -> None:
        self._reported.set()

    async def receive(self) -> Command | None:
        async with asyncio.timeout(TIMEOUT):
            return await wire.read(self._reader, wire.COMMANDS)

    async def send(self, *reports: Report) -> None:
        """Returns when the client has seen all of them."""
        self._reported.clear()
        self._writer.write(b"".join(wire.encode(report) for report in (*reports, Heartbeat(0, 0))))
        async with asyncio.timeout(TIMEOUT):
            await self._reported.wait()

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    def die(self) -> None:
        self._writer.close()


@asynccontextmanager
async def scripted_worker(
    client: Client, name: str = "worker-0", *, is_ready: bool = True
) -> AsyncIterator[ScriptedWorker]:
    ours, theirs = socket.socketpair()
    worker = ScriptedWorker(*await asyncio.open_connection(sock=theirs))
    attaching = asyncio.create_task(client.attach(name, await connect(ours), worker.on_report))
    if is_ready:
        worker.send_bytes(wire.encode(Ready(INFO)))
        await worker.send()
    try:
        yield worker
    finally:
        worker.die()
        async with asyncio.timeout(TIMEOUT):
            await attaching


def preview(step: int, request_id: str = "a") -> Preview:
    return Preview(request_id, step, 4, 64, 64, "image/jpeg", b"...")


def finished(request_id: str = "a") -> Finished:
    return Finished(request_id, 64, 64, "image/jpeg", b"......", prompt_truncated=False, timings={})


async def test_nothing_can_be_sent_before_a_worker_is_ready() -> None:
    client = Client()
    with pytest.raises(NotReady):
        client.generate("a", make_params())
    async with scripted_worker(client, is_ready=False) as worker:
        await worker.send(Loading("loading the model"))
        assert (client.is_ready, client.info, client.costs) == (False, None, None)
        for ask in (client.next_worker, lambda: client.generate("a", make_params())):
            with pytest.raises(NotReady):
                ask()
        await worker.send(Ready(INFO))
        assert (client.is_ready, client.info) == (True, INFO)
        assert client.costs is not None
        assert client.costs.request_cost(make_params()) == CostModel(INFO).request_cost(make_params())


async def test_events_reach_their_request() -> None:
    client = Client()
    async with scripted_worker(client) as worker:
        params = {request_id: make_params(seed=seed) for seed, request_id in enumerate("ab")}
        events = {request_id: client.generate(request_id, params[request_id]) for request_id in "ab"}
        assert [await worker.receive() for _ in "ab"] == [Add("a", params["a"]), Add("b", params["b"])]
        await worker.send(Started("a"), Started("b"), finished("b"), Failed("a", "engine_error", "no luck"))
        assert await collect(events["a"]) == [Started("a"), Failed("a", "engine_error", "no luck")]
        assert await collect(events["b"]) == [Started("b"), finished("b")]


async def test_a_slow_reader_finds_the_newest_preview_only() -> None:
    client = Client()
    async with scripted_worker(client) as worker:
        events = client.generate("a", make_params())
        await worker.send(Started("a"), preview(1), preview(2), preview(3))
        assert [await anext(events), await anext(events)] == [Started("a"), preview(3)]
        await worker.send(preview(4), finished())
        assert await collect(events) == [finished()]
        assert await collect(events) == []


async def test_a_slow_reader_finds_all_previews_that_are_kept() -> None:
    client = Client()
    async with scripted_worker(client) as worker:
        events = client.generate("a", make_params(preview_steps=(1, 2)))
        await worker.send(Started("a"), preview(1), preview(2), finished())
        assert await collect(events) == [Started("a"), preview(1), preview(2), finished()]


async def test_a_reader_is_woken() -> None:
    client = Client()
    async with scripted_worker(client) as worker:
        reading = asyncio.create_task(collect(client.generate("a", make_params())))
        await worker.send(Started("a"))
        await worker.send(preview(1))
        await worker.send(finished())
        assert (await reading)[-1] == finished()


async def test_the_least_loaded_worker_gets_the_request() -> None:
    client = Client()
    async with scripted_worker(client, "one") as one, scripted_worker(client, "two") as two:
        client.generate("heavy", make_params(num_steps=50))
        client.generate("light", make_params(num_steps=10))
        client.generate("next", make_params(num_steps=10))
        received = [await one.receive(), await two.receive(), await two.receive()]
        assert [command.request_id for command in received if isinstance(command, Add)] == ["heavy", "light", "next"]
        assert client.next_worker() == "two"
        await one.send(finished("heavy"))
        assert client.next_worker() == "one"
        client.generate("last", make_params())
        assert await one.receive() == Add("last", make_params())


async def test_abort_reaches_the_worker_that_has_the_request() -> None:
    client = Client()
    async with scripted_worker(client, "one") as one, scripted_worker(client, "two") as two:
        client.generate("a", make_params())
        events = client.generate("b", make_params())
        client.abort("nobody")
        client.abort("b")
        assert await two.receive() == Add("b", make_params())
        assert await two.receive() == Abort("b")
        await two.send(Cancelled("b"))
        assert await collect(events) == [Cancelled("b")]
        client.abort("b")
        client.drain("two")
        client.abort("a")
        assert await two.receive() == Drain()
        assert [await one.receive(), await one.receive()] == [Add("a", make_params()), Abort("a")]


async def test_requests_of_a_worker_that_dies_fail_with_a_reason() -> None:
    client = Client()
    async with scripted_worker(client, "survives"):
        client.generate("elsewhere", make_params(num_steps=40))
        async with scripted_worker(client, "dies") as worker:
            events = client.generate("a", make_params())
            await worker.send(Started("a"))
            worker.die()
            started, failed = await collect(events)
        assert isinstance(failed, Failed)
        assert (started, failed.request_id, failed.code) == (Started("a"), "a", "worker_lost")
        assert client.is_ready
    assert not client.is_ready
    assert client.info == INFO


async def test_a_draining_worker_gets_nothing_more() -> None:
    client = Client()
    async with scripted_worker(client) as worker:
        events = client.generate("a", make_params())
        client.drain("worker-0")
        client.drain("nobody")
        assert not client.is_ready
        with pytest.raises(NotReady):
            client.generate("b", make_params())
        await worker.send(finished())
        assert await collect(events) == [finished()]


async def test_reports_go_to_whoever_listens() -> None:
    heard: list[tuple[str, Report]] = []
    client = Client(lambda name, report: heard.append((name, report)))
    async with scripted_worker(client) as worker:
        client.generate("a", make_params())
        await worker.send(Started("a"), finished("a"), Heartbeat(7, 2))
    assert ("worker-0", Ready(INFO)) in heard
    assert ("worker-0", Heartbeat(7, 2)) in heard
    assert not any(isinstance(report, Started | Finished) for _, report in heard)


async def test_events_of_strangers_are_ignored() -> None:
    client = Client()
    async with scripted_worker(client) as worker:
        events = client.generate("a", make_params())
        await worker.send(Started("nobody"), finished("nobody"), finished(), finished(), Cancelled("a"))
        assert await collect(events) == [finished()]


async def test_an_id_is_used_once_at_a_time() -> None:
    client = Client()
    async with scripted_worker(client):
        client.generate("a", make_params())
        with pytest.raises(ValueError, match="'a' is already running"):
            client.generate("a", make_params())


async def test_a_request_that_cannot_be_sent_leaves_nothing_behind() -> None:
    client = Client()
    async with scripted_worker(client) as worker:
        with pytest.raises(UnicodeEncodeError):
            client.generate("a", make_params(prompt="\ud800"))
        client.generate("a", make_params())
        assert await worker.receive() == Add("a", make_params())


async def test_garbage_from_a_worker_is_an_error_and_loses_it() -> None:
    client = Client()

    async def talk() -> None:
        async with scripted_worker(client) as worker:
            events = client.generate("a", make_params())
            worker.send_bytes(b"Segmentation fault")
            (failed,) = await collect(events)
            assert isinstance(failed, Failed)

    with pytest.raises(wire.WireError):
        await talk()
    assert not client.is_ready


async def test_from_end_to_end() -> None:
    client = Client()
    async with attached_worker(client):
        *previews, last = await collect(client.generate("a", make_params(num_steps=4)))
    assert previews[0] == Started("a")
    assert isinstance(last, Finished)
