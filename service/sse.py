"""Server-sent events as bytes: frames encoded beforehand, and a response that writes them as they are."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp_sse import EventSourceResponse

# One newline: a comment with a blank line after it becomes an empty event in several clients once an id was sent.
KEEP_ALIVE_FRAME = b": keep-alive\n"

SLICE_BYTES = 64 * 1024
SEND_BUFFER_BYTES = 64 * 1024  # the kernel's own would take in megabytes for a reader that has stalled
SEND_TIMEOUT_SECONDS = 120.0


def ascii_json(value: Any) -> bytes:
    """One line of ASCII: some clients decode chunk by chunk and would split a UTF-8 character. Bytes become base64."""
    encoded = msgspec.json.encode(value)
    return encoded if encoded.isascii() else json.dumps(json.loads(encoded), separators=(",", ":")).encode()


def sse_frame(data: bytes, *, event_id: str | None = None, name: str | None = None) -> bytes:
    """One event."""
    head = b""
    if event_id is not None:
        head += b"id: %b\n" % _one_line(event_id.encode())
    if name is not None:
        head += b"event: %b\n" % _one_line(name.encode())
    return b"%bdata: %b\n\n" % (head, _one_line(data))


def _one_line(value: bytes) -> bytes:
    if b"\n" in value or b"\r" in value:
        raise ValueError("a field of a server-sent event must be one line")
    return value


class EventStream(EventSourceResponse):
    """Writes frames as they are. Keep-alives are frames too, written by whoever owns the stream, never beside it."""

    def __init__(self, headers: Mapping[str, str], send_timeout: float = SEND_TIMEOUT_SECONDS) -> None:
        super().__init__(headers=headers, allow_all_methods=True, send_timeout=send_timeout)
        self.headers["Cache-Control"] = "no-cache, no-transform"
        del self.headers["Connection"]  # HTTP/1.1 keeps alive without being told

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if request.transport is None:
            raise ConnectionResetError("the client is gone")
        if (sock := request.transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        return await super().prepare(request)

    async def write_frame(self, frame: bytes) -> None:
        """Raises `ConnectionError` when the reader is gone, `TimeoutError` when it has taken nothing for too long."""
        view = memoryview(frame)  # slices of one buffer, whatever number of streams it goes to
        for start in range(0, len(frame), SLICE_BYTES):
            async with asyncio.timeout(self._send_timeout):
                await self.write(view[start : start + SLICE_BYTES])

    def abort(self) -> None:
        """Breaks the connection off at once, so that nobody takes the end for a good one."""
        self._abort_transport()

    async def break_off(self) -> None:
        """Breaks the connection off when all that was written has left."""
        assert self._req is not None
        transport, writer = self._req.transport, self._payload_writer
        if transport is not None and not transport.is_closing() and writer is not None:
            transport.set_write_buffer_limits(0)  # now `drain` waits for an empty buffer
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(self._send_timeout):
                    await writer.drain()
        self.abort()

    async def _ping(self) -> None:
        """No task of its own for each stream: one ticker serves all."""
