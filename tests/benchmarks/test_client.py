"""One streamed request against servers that behave, dawdle or fail."""

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from benchmarks.client import StreamClient
from benchmarks.results import Sample
from benchmarks.workload import Workload

PREVIEW = b'data: {"step":1,"total_steps":2,"image":{}}\n\n'
FINAL = b'data: {"step":2,"total_steps":2,"image":{}}\n\n'


async def respond(request: web.Request, *parts: bytes | float) -> web.StreamResponse:
    """Writes byte strings, waits as many seconds as numbers say."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for part in parts:
        if isinstance(part, bytes):
            await response.write(part)
        else:
            await asyncio.sleep(part)
    return response


async def good(request: web.Request) -> web.StreamResponse:
    return await respond(request, PREVIEW, 0.05, FINAL)


async def truncated(request: web.Request) -> web.StreamResponse:
    return await respond(request, PREVIEW)


async def failed(request: web.Request) -> web.StreamResponse:
    return await respond(request, PREVIEW, b'data: {"error":{"code":"worker_lost"},"detail":"gone"}\n\n')


async def not_json(request: web.Request) -> web.StreamResponse:
    return await respond(request, b"data: [DONE]\n\n")


async def hung(request: web.Request) -> web.StreamResponse:
    return await respond(request, PREVIEW, 30.0)


async def aborted(request: web.Request) -> web.StreamResponse:
    response = await respond(request, PREVIEW)
    assert request.transport is not None
    request.transport.abort()
    return response


async def full(_: web.Request) -> web.StreamResponse:
    raise web.HTTPServiceUnavailable


HANDLERS = (good, truncated, failed, not_json, hung, aborted, full)


@pytest.fixture
async def client(aiohttp_server: AiohttpServer) -> AsyncIterator[StreamClient]:
    app = web.Application()
    app.add_routes([web.post(f"/{handler.__name__}", handler) for handler in HANDLERS])
    server = await aiohttp_server(app)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as session:
        yield StreamClient(session, str(server.make_url("/")), Workload(), run_started=time.perf_counter())


async def send(client: StreamClient, path: str, late: float = 0.0) -> Sample:
    """Sends `late` seconds after the request was meant to leave."""
    there = StreamClient(client.session, client.url + path, client.workload, client.run_started)
    return await there.request(0, time.perf_counter() - late)


async def test_previews_and_end_are_timed(client: StreamClient) -> None:
    sample = await send(client, "good")
    assert sample.error is None
    assert len(sample.previews) == 1
    assert sample.ended - sample.previews[0] >= 0.05
    assert sample.received_bytes == len(PREVIEW + FINAL)


async def test_latencies_count_from_the_intended_send(client: StreamClient) -> None:
    sample = await send(client, "good", late=2.0)
    assert 2.0 <= sample.sent < sample.previews[0] < sample.ended


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("truncated", "truncated"),
        ("failed", "failed"),
        ("not_json", "invalid"),
        ("hung", "timeout"),
        ("aborted", "connection"),
        ("full", "http_503"),
        ("missing", "http_404"),
    ],
)
async def test_each_failure_has_its_kind(client: StreamClient, path: str, error: str) -> None:
    assert (await send(client, path)).error == error


async def test_nobody_listening_is_a_connection_error() -> None:
    async with aiohttp.ClientSession() as session:
        client = StreamClient(session, "http://127.0.0.1:9/stream", Workload(), run_started=time.perf_counter())
        assert (await client.request(0, time.perf_counter())).error == "connection"
