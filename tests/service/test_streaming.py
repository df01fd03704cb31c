"""What becomes of a stream whose reader comes back, stalls or says nothing."""

import asyncio
import contextlib
import functools
import json
import re
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer, make_mocked_request

from scheduler.messages import Preview
from service.api import streaming
from service.api.streaming import UNKNOWN, EventId, last_event_id, stream_events
from service.generation import Event
from service.keys import METRICS, TICKER
from service.metrics import Metrics
from service.sse import EventStream
from service.streams import Mailbox, Ticker
from tests.service.harness import Service, body, eventually, make_generation, parse_events

HALF_A_MEGABYTE = 500_000


@pytest.mark.parametrize(
    ("header", "seen"),
    [
        (None, None),
        ("", None),
        ("abc.7", EventId("abc", 7)),
        ("a-_b.0", EventId("a-_b", 0)),
        ("abc", UNKNOWN),
        ("abc.", UNKNOWN),
        ("abc.-1", UNKNOWN),
        ("abc.²", UNKNOWN),
        ("abc.1x", UNKNOWN),
    ],
)
def test_where_a_client_left_off(header: str | None, seen: EventId | None) -> None:
    headers = {} if header is None else {"Last-Event-ID": header}
    assert last_event_id(make_mocked_request("GET", "/", headers=headers)) == seen


async def test_a_silent_stream_is_kept_alive_with_a_comment(gated: Service) -> None:
    answer = await gated.http.post("/stream", json=body())
    gated.app[TICKER].tick()
    assert await answer.content.readexactly(len(": keep-alive\n")) == b": keep-alive\n"
    gated.worker.allow(4)
    assert parse_events(await answer.read())[-1].json["step"] == 4


async def test_a_reader_that_stalls_holds_little_and_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "EventStream", functools.partial(EventStream, send_timeout=0.1))
    metrics = Metrics()
    held: list[int] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        mailbox = Mailbox({"one"}, metrics.images, metrics.images)
        mailbox.put(Event(make_generation("one"), 1, "succeeded"))
        watching = asyncio.create_task(_watch_buffer(request, held))
        try:
            return await stream_events(request, mailbox, lambda _: bytes(20_000_000), {})
        finally:
            watching.cancel()

    app = web.Application()
    app[METRICS], app[TICKER] = metrics, Ticker(interval=15)
    app.router.add_get("/", handler)
    async with TestServer(app) as server:
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(reader, (server.host, server.port))
            await loop.sock_sendall(reader, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            closes = metrics.registry.get_sample_value
            await eventually(lambda: closes("latentcast_slow_client_closes_total") == 1)
    assert max(held) < HALF_A_MEGABYTE
    assert closes("latentcast_stream_clients") == 0


async def test_a_reader_that_stalls_slows_nobody_and_then_gets_the_newest() -> None:
    """Two readers of one generation, both on real sockets; its previews are as large as they may be."""
    metrics = Metrics()
    mailboxes = [Mailbox({"one"}, metrics.images, metrics.previews_sent) for _ in range(2)]
    unused, held, encoded = iter(mailboxes), [0], []

    def encode(event: Event) -> bytes:
        encoded.append(event.number)
        return b"data: %d %b\n\n" % (event.number, b"x" * 120_000)

    async def handler(request: web.Request) -> web.StreamResponse:
        watching = asyncio.create_task(_watch_buffer(request, held))
        try:
            return await stream_events(request, next(unused), encode, {})
        finally:
            watching.cancel()

    app = web.Application()
    app[METRICS], app[TICKER] = metrics, Ticker(interval=15)
    app.router.add_get("/", handler)
    generation = make_generation("one")
    async with (
        asyncio.timeout(30),
        TestServer(app) as server,
        _asking(server, limit=1 << 20) as reader,
        _asking(server, limit=16 << 10) as stalled,
    ):
        for number in range(1, 101):
            preview = Preview("one", number, 100, 64, 64, "image/jpeg", b"")
            event = Event(generation, number, "preview", preview)
            for mailbox in mailboxes:
                mailbox.put(event)
            assert await _next_number(reader) == number
        final = Event(generation, 101, "succeeded")
        for mailbox in mailboxes:
            mailbox.put(final)
        assert await _next_number(reader) == 101
        late = [int(number) for number in re.findall(rb"data: (\d+) ", await stalled.read())]
    assert max(held) < HALF_A_MEGABYTE
    assert encoded == list(range(1, 102))  # once for both
    assert late == sorted(set(late))
    assert late[-1] == 101
    assert len(late) < 20


@contextlib.asynccontextmanager
async def _asking(server: BaseTestServer, limit: int) -> AsyncIterator[asyncio.StreamReader]:
    """Takes at most about `limit` bytes, in the kernel and in the reader each, before somebody wants them."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limit)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (server.host, server.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=limit)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    yield reader
    writer.close()


async def _next_number(reader: asyncio.StreamReader) -> int:
    event = await reader.readuntil(b"\n\n")
    match = re.search(rb"data: (\d+) ", event)
    assert match is not None
    return int(match[1])


async def _watch_buffer(request: web.Request, held: list[int]) -> None:
    while request.transport is not None:
        held.append(request.transport.get_write_buffer_size())
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def asked_by_http_1_0(service: Service, prompt: str) -> AsyncIterator[asyncio.StreamReader]:
    """As a proxy asks that knows no chunks: the answer ends with its connection."""
    url = service.http.make_url("/stream")
    reader, writer = await asyncio.open_connection(url.host, url.port)
    data = json.dumps(body(prompt=prompt)).encode()
    writer.write(b"POST /stream HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data))
    writer.write(data)
    yield reader
    writer.close()


async def test_over_http_1_0_a_success_ends_with_its_connection(service: Service) -> None:
    async with asked_by_http_1_0(service, "a red boat") as reader:
        head, _, stream = (await reader.read()).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert "images" in parse_events(stream)[-1].json


async def test_over_http_1_0_a_failure_ends_with_a_reset_after_all_its_bytes(service: Service) -> None:
    async with asked_by_http_1_0(service, "fail this request") as reader:
        await reader.readuntil(b"\r\n\r\n")
        assert b"asked to fail this request" in await reader.readuntil(b"\n\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
