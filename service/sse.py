"""Server-sent events as bytes: frames encoded beforehand, and a response that writes them as they are."""

import asyncio
import contextlib
import fcntl
import json
import socket
import struct
import sys
import termios
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp_sse import EventSourceResponse

from service.frames import Frame

# One newline: a comment with a blank line after it becomes an empty event in several clients once an id was sent.
KEEP_ALIVE_FRAME = Frame(b": keep-alive\n")

SLICE_BYTES = 64 * 1024
SEND_BUFFER_BYTES = 64 * 1024  # the kernel's own would take in megabytes for a reader that has stalled
SEND_TIMEOUT_SECONDS = 120.0

RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # linger, for no time at all
UNSENT_POLL_SECONDS = 0.005


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
    return b"".join((head, b"data: ", _one_line(data), b"\n\n"))


def _one_line(value: bytes) -> bytes:
    if b"\n" in value or b"\r" in value:
        raise ValueError("a field of a server-sent event must be one line")
    return value


def bound_send_buffer(transport: asyncio.BaseTransport) -> None:
    """So that a reader that stalls, or vanishes without a word, is noticed soon, and costs little memory."""
    if (sock := transport.get_extra_info("socket")) is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # elsewhere the kernel tries for many minutes
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SEND_TIMEOUT_SECONDS * 1000))


def _unsent_bytes(sock: socket.socket) -> int:
    """What the other side has not yet confirmed; 0 on systems that do not tell."""
    if sys.platform != "linux":
        return 0
    (unsent,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    return int(unsent)


def _slices(data: bytes | memoryview) -> Iterator[memoryview]:
    """Of one buffer, whatever number of streams it goes to."""
    view = memoryview(data)
    return (view[start : start + SLICE_BYTES] for start in range(0, len(view), SLICE_BYTES))


class EventStream(EventSourceResponse):
    """Writes frames as they are. Keep-alives are frames too, written by whoever owns the stream, never beside it."""

    def __init__(self, headers: Mapping[str, str], send_timeout: float = SEND_TIMEOUT_SECONDS) -> None:
        super().__init__(headers=headers, allow_all_methods=True, send_timeout=send_timeout)
        self.headers["Cache-Control"] = "no-cache, no-transform"
        del self.headers["Connection"]  # HTTP/1.1 keeps alive without being told

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if request.transport is None:
            raise ConnectionResetError("the client is gone")
        bound_send_buffer(request.transport)
        self._transport = request.transport
        # HTTP/1.0, which proxies speak, has no chunks: a closed connection is a good end there, and a reset is not.
        self._is_chunked = request.version >= HttpVersion11
        return await super().prepare(request)

    async def write_frame(self, frame: Frame) -> None:
        """Raises `ConnectionError` when the reader is gone, `TimeoutError` when it has taken nothing for too long."""
        data = frame.chunk if self._is_chunked else frame.text
        transport = self._transport
        for part in (data,) if len(data) <= SLICE_BYTES else _slices(data):
            if transport.is_closing():
                raise ConnectionResetError("the client is gone")
            transport.write(part)
            if transport.get_write_buffer_size() > SLICE_BYTES:
                await self._drain()

    async def ready(self) -> None:
        """Returns when the kernel has taken all that was written. Raises as `write_frame`."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if self._transport.get_write_buffer_size():
            self._transport.set_write_buffer_limits(0)  # now `drain` waits for an empty buffer
            await self._drain()
            self._transport.set_write_buffer_limits()

    async def _drain(self) -> None:
        """Waits for a reader that is slow."""
        assert self._payload_writer is not None
        async with asyncio.timeout(self._send_timeout):
            await self._payload_writer.drain()

    def abort(self) -> None:
        """Breaks the connection off at once, so that nobody takes the end for a good one."""
        sock = self._socket
        if sock is not None and not self._is_chunked:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self._abort_transport()

    async def break_off(self) -> None:
        """Breaks the connection off when all that was written has left."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            await self.ready()
            async with asyncio.timeout(self._send_timeout):
                await self._sent_by_the_kernel()
        self.abort()

    async def _sent_by_the_kernel(self) -> None:
        """A reset would throw away what the kernel has not yet sent."""
        sock = self._socket
        if sock is None or self._is_chunked:
            return
        while _unsent_bytes(sock):  # noqa: ASYNC110 - the kernel tells nobody when it is done
            await asyncio.sleep(UNSENT_POLL_SECONDS)

    @property
    def _socket(self) -> socket.socket | None:
        transport = self._req.transport if self._req is not None else None
        return None if transport is None or transport.is_closing() else transport.get_extra_info("socket")

    async def _ping(self) -> None:
        """No task of its own for each stream: one ticker serves all."""
