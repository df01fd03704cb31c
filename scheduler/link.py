"""The service's end of the socket to a worker."""

import asyncio
import socket
from collections.abc import Sequence

from scheduler import wire
from scheduler.bell import Bell
from scheduler.messages import Command, Report

BUFFER_BYTES = 256 * 1024


class Link(asyncio.BufferedProtocol):
    """Reports are decoded right where the kernel puts them: previews make most of what crosses, and are copied once."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._filled = 0
        self._reports: list[Report] = []
        self._error: wire.WireError | None = None
        self._has_ended = False
        self._changed = Bell()

    async def receive(self) -> Sequence[Report]:
        """All that have come, at least one; none when the other side is gone. Raises `WireError`."""
        while not self._reports:
            if self._error is not None:
                raise self._error
            if self._has_ended:
                return ()
            await self._changed.wait()
        reports, self._reports = self._reports, []
        return reports

    def send(self, command: Command) -> None:
        assert self._transport is not None
        self._transport.write(wire.encode(command))

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a socket's, which can be written to

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - there is always room
        return self._buffer[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        try:
            self._decode()
        except wire.WireError as error:
            self._error = error
            self.close()
        self._changed.ring()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - gone is gone
        self._has_ended = True
        self._changed.ring()

    def _decode(self) -> None:
        """Takes every whole frame out of the buffer, and makes room for the one that has begun."""
        begin, needed = 0, wire.HEAD_BYTES
        while self._filled - begin >= wire.HEAD_BYTES:
            body = begin + wire.HEAD_BYTES
            end = body + wire.length_of(self._buffer[begin:body])
            if end > self._filled:
                needed = end - begin
                break
            self._reports.append(wire.decode(self._buffer[body:end], wire.REPORTS))
            begin = end
        self._keep(begin, needed)

    def _keep(self, begin: int, needed: int) -> None:
        """Moves what begins there to the front of a buffer with room for as many bytes."""
        rest = bytes(self._buffer[begin : self._filled])
        size = max(BUFFER_BYTES, needed)
        if size != len(self._buffer):
            self._buffer = memoryview(bytearray(size))
        self._buffer[: len(rest)] = rest
        self._filled = len(rest)


async def connect(connection: socket.socket) -> Link:
    _, link = await asyncio.get_running_loop().create_connection(Link, sock=connection)
    return link
