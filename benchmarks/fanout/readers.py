"""Clients of event streams in a process of their own: `python -m benchmarks.fanout.readers URL COUNT`.

Each asks for a picture by `POST /stream`, or for what URL names if it has a path, reads all that comes, and notes when
it came. `connected` is printed when every stream has its answer; at the end of standard input all that was
noted follows, as MessagePack.
"""

import argparse
import asyncio
import os
import sys
import time
from array import array
from urllib.parse import urlsplit

import msgspec
import uvloop

from benchmarks.fanout.stamps import stamp_of
from benchmarks.sse import EventParser
from service.open_files import raise_open_files

NICENESS = 10  # servers go first where they share cores
BODY = b'{"prompt":"a red boat","num_inference_steps":50,"preview_every":1,"width":256,"height":256}'
POST = b"POST /stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)
AT_ONCE = 64  # streams that are being opened


class Arrivals(msgspec.Struct, frozen=True):
    """Of each preview when it had come, in monotonic seconds, how many seconds after it was due, and how many earlier
    ones of its stream had given way to it.

    `num_ended`: streams that ended while they were read.
    """

    at: list[float]
    delays: list[float]
    skipped: list[int]
    num_ended: int

    def delays_between(self, began: float, ended: float) -> list[float]:
        """Of previews that came at `began` or later, and before `ended`."""
        return [delay for at, delay in zip(self.at, self.delays, strict=True) if began <= at < ended]

    def skipped_between(self, began: float, ended: float) -> int:
        """How many gave way to those."""
        return sum(skipped for at, skipped in zip(self.at, self.skipped, strict=True) if began <= at < ended)


class Log:
    def __init__(self) -> None:
        self.at = array("d")
        self.delays = array("d")
        self.skipped = array("l")
        self.num_ended = 0

    def note(self, moment: float, delay: float, skipped: int) -> None:
        self.at.append(moment)
        self.delays.append(delay)
        self.skipped.append(skipped)

    def arrivals(self) -> Arrivals:
        return Arrivals(list(self.at), list(self.delays), list(self.skipped), self.num_ended)


class Reader(asyncio.Protocol):
    """One stream. `answered` is done when the first bytes have come."""

    def __init__(self, request: bytes, log: Log) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._log = log
        self._parser = EventParser()
        self._number = 0  # of the newest preview

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]  # uvloop's is no asyncio.Transport

    def data_received(self, data: bytes) -> None:
        if not self.answered.done():
            if not data.startswith(b"HTTP/1.1 200 "):
                self.answered.set_exception(ConnectionError(data.partition(b"\r\n")[0].decode()))
                return
            self.answered.set_result(None)
        for event in self._parser.feed(data):
            self._note(event)

    def _note(self, event: bytes) -> None:
        moment, stamp = time.monotonic(), stamp_of(event)
        if stamp is not None:
            self._log.note(moment, moment - stamp.due, stamp.number - self._number - 1)
            self._number = stamp.number

    def connection_lost(self, exc: Exception | None) -> None:
        self._log.num_ended += 1
        if not self.answered.done():
            self.answered.set_exception(exc or ConnectionError("closed without an answer"))


def request_for(path: str) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode() if path else POST


async def connect(url: str, count: int, log: Log) -> None:
    """Returns when all have an answer. Raises `OSError`."""
    target = urlsplit(url)
    host, port = target.hostname or "", target.port or 80
    gate, request = asyncio.Semaphore(AT_ONCE), request_for(target.path)

    async def one() -> None:
        async with gate:
            _, reader = await asyncio.get_running_loop().create_connection(lambda: Reader(request, log), host, port)
            await reader.answered

    await asyncio.gather(*(one() for _ in range(count)))


async def read(url: str, count: int) -> None:
    log = Log()
    await connect(url, count, log)
    print("connected", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    sys.stdout.buffer.write(msgspec.msgpack.encode(log.arrivals()))
    sys.stdout.buffer.flush()


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.fanout.readers", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    os.nice(NICENESS)
    raise_open_files()
    uvloop.run(read(options.url, options.count))
    os._exit(0)  # thousands of connections need not be closed one by one


if __name__ == "__main__":
    main()
