import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.fanout.replay import Replay
from scheduler.client import Client
from scheduler.link import connect
from scheduler.messages import Cancelled, Preview, Started, WorkerConfig
from tests.scheduler.harness import TIMEOUT, make_params


@asynccontextmanager
async def replayed(preview_bytes: int) -> AsyncIterator[Client]:
    """A client whose worker is played."""
    ours, theirs = socket.socketpair()
    ready = asyncio.Event()
    client = Client(on_report=lambda *_: ready.set())
    reader, writer = await asyncio.open_connection(sock=theirs)
    config = WorkerConfig(engine="fake", model=str(preview_bytes), fake_step_seconds=0.01)
    tasks = [
        asyncio.create_task(Replay(writer, config).serve(reader)),
        asyncio.create_task(client.attach("worker-0", await connect(ours))),
    ]
    async with asyncio.timeout(TIMEOUT):
        await ready.wait()
        yield client
        client.drain("worker-0")
        await tasks[0]
        writer.close()
        await tasks[1]


async def test_a_request_starts_and_gets_previews_until_it_is_aborted() -> None:
    async with replayed(preview_bytes=1000) as client:
        events = client.generate("a", make_params(num_steps=3, preview_steps=(1, 2)))
        assert await anext(events) == Started("a")
        for step in (1, 2, 2):  # it never comes to its end
            preview = await anext(events)
            assert isinstance(preview, Preview)
            assert (preview.step, len(preview.data)) == (step, 1000)
        client.abort("a")
        assert [event async for event in events if not isinstance(event, Preview)] == [Cancelled("a")]


async def test_with_no_bytes_there_are_no_previews() -> None:
    async with replayed(preview_bytes=0) as client:
        events = client.generate("a", make_params())
        assert await anext(events) == Started("a")
        client.abort("a")
        client.abort("unknown")
        assert [event async for event in events] == [Cancelled("a")]
