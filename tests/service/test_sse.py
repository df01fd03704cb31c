"""The exact bytes of server-sent events, and how streams end."""

import asyncio
import socket
import sys

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from service.frames import Frame
from service.sse import (
    KEEP_ALIVE_FRAME,
    SEND_BUFFER_BYTES,
    SEND_TIMEOUT_SECONDS,
    SLICE_BYTES,
    EventStream,
    ascii_json,
    sse_frame,
)


def test_a_frame_with_data_alone() -> None:
    assert sse_frame(b'{"a":1}') == b'data: {"a":1}\n\n'


def test_a_frame_with_everything() -> None:
    assert sse_frame(b"{}", event_id="x.1", name="preview") == b"id: x.1\nevent: preview\ndata: {}\n\n"


def test_a_keep_alive_is_a_comment_without_a_blank_line() -> None:
    assert bytes(KEEP_ALIVE_FRAME.text) == b": keep-alive\n"


@pytest.mark.parametrize("bad", ["a\nb", "a\rb"])
def test_a_field_of_two_lines_is_refused(bad: str) -> None:
    for fields in ({"event_id": bad}, {"name": bad}):
        with pytest.raises(ValueError, match="one line"):
            sse_frame(b"{}", **fields)
    with pytest.raises(ValueError, match="one line"):
        sse_frame(bad.encode())


def test_json_is_one_line_of_ascii() -> None:
    assert ascii_json({"a": "ü\n\u2028", "b": b"\x00\xff", "c": [1.5, None]}) == (
        b'{"a":"\\u00fc\\n\\u2028","b":"AP8=","c":[1.5,null]}'
    )


async def serve_stream(frames: list[Frame], *, break_off: bool = False) -> tuple[aiohttp.ClientResponse, bytes]:
    """What a client gets of a stream with these frames."""

    async def handler(request: web.Request) -> web.StreamResponse:
        stream = EventStream({"X-Fal-Request-Id": "one"})
        await stream.prepare(request)
        assert request.transport is not None
        sock = request.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * SEND_BUFFER_BYTES  # the kernel doubles it
        if sys.platform == "linux":
            timeout = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert timeout == SEND_TIMEOUT_SECONDS * 1000
        for frame in frames:
            await stream.write_frame(frame)
        if break_off:
            await stream.break_off()
        return stream

    app = web.Application()
    app.router.add_post("/", handler)
    async with TestClient(TestServer(app)) as http, http.post("/") as answer:
        received = b""
        try:
            async for chunk in answer.content.iter_any():
                received += chunk
        except aiohttp.ClientPayloadError:
            assert break_off
        return answer, received


async def test_frames_arrive_as_they_are() -> None:
    texts = [b"1", b"x" * (3 * SLICE_BYTES + 7), b"2"]
    frames = [KEEP_ALIVE_FRAME, *(Frame(sse_frame(text)) for text in texts)]
    answer, received = await serve_stream(frames)
    assert received == b"".join(frame.text for frame in frames)
    assert answer.headers["Cache-Control"] == "no-cache, no-transform"


async def test_all_that_was_written_arrives_before_the_connection_breaks() -> None:
    frame = Frame(sse_frame(b"x" * 1_000_000))
    _, received = await serve_stream([frame], break_off=True)
    assert received == frame.text


async def test_a_reader_that_takes_nothing_is_given_up() -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.StreamResponse:
        stream = EventStream({}, send_timeout=0.1)
        await stream.prepare(request)
        try:
            for _ in range(1000):
                await stream.write_frame(Frame(b"x" * SLICE_BYTES))
        except TimeoutError:
            ended.set_result("timeout")
        stream.abort()
        return stream

    app = web.Application()
    app.router.add_get("/", handler)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port, limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await ended == "timeout"
        writer.close()
        assert reader is not None
