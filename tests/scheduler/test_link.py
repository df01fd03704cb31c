"""The service's end of the socket, against raw bytes on the other one."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from scheduler import wire
from scheduler.link import BUFFER_BYTES, Link, connect
from scheduler.messages import Abort, Failed, Heartbeat, Preview, Report
from tests.scheduler.harness import TIMEOUT


class Far:
    """The other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Link, Far]]:
    ours, theirs = socket.socketpair()
    link = await connect(ours)
    far = Far(*await asyncio.open_connection(sock=theirs))
    try:
        yield link, far
    finally:
        far.writer.close()
        link.close()


async def take(link: Link, count: int) -> list[Report]:
    """So many reports, however many come at a time."""
    reports: list[Report] = []
    async with asyncio.timeout(TIMEOUT):
        while len(reports) < count:
            reports += await link.receive()
    return reports


def preview(num_bytes: int) -> Preview:
    return Preview("a", 1, 4, 64, 64, "image/jpeg", bytes(num_bytes))


@pytest.mark.parametrize(
    "sizes",
    [
        [0, 1, 2],
        [15_000] * 50,  # more than the buffer holds at a time
        [BUFFER_BYTES - 50, BUFFER_BYTES, 3 * BUFFER_BYTES, 10],  # a frame that the buffer must grow for
    ],
)
async def test_reports_come_out_as_they_went_in(sizes: Sequence[int]) -> None:
    sent: list[Report] = [preview(size) for size in sizes]
    async with linked() as (link, far):
        far.writer.write(b"".join(wire.encode(report) for report in sent))
        assert await take(link, len(sent)) == sent


async def test_a_frame_may_come_in_pieces() -> None:
    reports: list[Report] = [Heartbeat(1, 2), Failed("a", "engine_error", "no"), Heartbeat(3, 4)]
    async with linked() as (link, far):
        for byte in b"".join(wire.encode(report) for report in reports):
            far.writer.write(bytes([byte]))
            await far.writer.drain()
            await asyncio.sleep(0)
        assert await take(link, len(reports)) == reports


async def test_commands_go_out() -> None:
    async with linked() as (link, far):
        link.send(Abort("a"))
        assert await wire.read(far.reader, wire.COMMANDS) == Abort("a")


@pytest.mark.parametrize("rest", [b"", wire.encode(Heartbeat(1, 2))[:7]])
async def test_what_came_before_the_end_is_given_and_half_a_frame_is_not(rest: bytes) -> None:
    async with linked() as (link, far):
        far.writer.write(wire.encode(Heartbeat(1, 2)) + rest)
        far.writer.close()
        assert await take(link, 1) == [Heartbeat(1, 2)]
        assert await link.receive() == ()


@pytest.mark.parametrize(
    ("garbage", "message"),
    [
        (struct.pack(">I", 3) + b"abc", "a frame of 3 bytes is no message of this protocol"),
        (b"GET / HTTP/1.1\r\n", "a frame of 1195725856 bytes is over the limit"),
    ],
)
async def test_what_is_no_report_is_refused_after_those_before_it(garbage: bytes, message: str) -> None:
    async with linked() as (link, far):
        far.writer.write(wire.encode(Heartbeat(1, 2)) + garbage)
        assert await take(link, 1) == [Heartbeat(1, 2)]
        with pytest.raises(wire.WireError, match=message):
            await link.receive()
        assert await far.reader.read() == b""  # it is closed
