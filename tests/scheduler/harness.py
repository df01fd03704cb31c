"""A client and a worker in one process, for tests: the real socket, loop and outbox around an engine of the test's."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from scheduler.client import Client
from scheduler.link import connect
from scheduler.messages import Ready, Report, RequestEvent, WorkerConfig
from scheduler.request import GenerateParams
from scheduler.worker import LoadEngine, load_engine, serve

TIMEOUT = 20.0


def make_config(**changes: Any) -> WorkerConfig:
    return WorkerConfig(**{"engine": "fake", "model": "fake", **changes})


def make_params(**changes: Any) -> GenerateParams:
    return GenerateParams(
        **{"prompt": "a boat", "width": 64, "height": 64, "num_steps": 4, "preview_every": 1, **changes}
    )


async def collect(events: AsyncIterator[RequestEvent]) -> list[RequestEvent]:
    async with asyncio.timeout(TIMEOUT):
        return [event async for event in events]


@asynccontextmanager
async def run_worker(
    client: Client,
    config: WorkerConfig | None = None,
    load: LoadEngine = load_engine,
    name: str = "worker-0",
    on_report: Callable[[Report], None] | None = None,
) -> AsyncIterator["asyncio.Task[int]"]:
    """A worker in this process, perhaps not ready yet. Gives its task, which returns the exit code."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=theirs)
    serving = asyncio.create_task(serve(reader, writer, config or make_config(), load))
    attaching = asyncio.create_task(client.attach(name, await connect(ours), on_report))
    try:
        yield serving
    finally:
        writer.close()
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(serving, attaching)


@asynccontextmanager
async def attached_worker(
    client: Client, config: WorkerConfig | None = None, load: LoadEngine = load_engine, name: str = "worker-0"
) -> AsyncIterator["asyncio.Task[int]"]:
    """The same, once it is ready."""
    ready = asyncio.Event()

    def watch(report: Report) -> None:
        if isinstance(report, Ready):
            ready.set()

    async with run_worker(client, config, load, name, watch) as serving:
        async with asyncio.timeout(TIMEOUT):
            await ready.wait()
        yield serving
