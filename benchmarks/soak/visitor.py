"""One client of mixed traffic: carries out an order, and says how it ended."""

import asyncio
import time
from dataclasses import dataclass
from typing import Literal

import aiohttp
import msgspec

from benchmarks.soak.traffic import Order
from benchmarks.sse import EventParser

Outcome = Literal["ok", "cancelled", "deadline", "error", "rejected", "lost"]
Route = Literal["stream", "run", "native"]

READ_BYTES = 1 << 20
FINAL = {"succeeded", "failed", "cancelled"}


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How one request ended: `at` seconds from the start of the run, after `seconds`, with so many `images`.

    `reason` is the code of what was rejected or went wrong; `lost` is what nobody can account for. `retry_after` is
    what a full service asks for, in seconds.
    """

    index: int
    kind: str
    route: Route
    outcome: Outcome
    reason: str = ""
    images: int = 0
    at: float = 0.0
    seconds: float = 0.0
    retry_after: float = 0.0


class Fault(msgspec.Struct, frozen=True):
    code: str = "unknown"


class Progress(msgspec.Struct, frozen=True):
    """What is read of an event of `POST /stream`, and of the answer of `POST /`."""

    images: list[msgspec.Raw] = []
    error: Fault | None = None


class Refusal(msgspec.Struct, frozen=True):
    error_type: str


class Record(msgspec.Struct, frozen=True):
    """What is read of a generation's record."""

    id: str
    status: str
    images: list[msgspec.Raw]
    error: Fault | None


@dataclass(frozen=True, slots=True)
class Visitor:
    """`started` is the `time.perf_counter` that endings count from; a request is lost after `timeout` seconds."""

    session: aiohttp.ClientSession
    url: str
    started: float
    timeout: float

    async def visit(self, order: Order) -> Ending:
        """Carries the order out to its end, which is known even where the client did not wait for it."""
        began = time.perf_counter()
        route: Route = "native" if order.kind in ("create", "delete") else "run" if order.kind == "run" else "stream"
        try:
            async with asyncio.timeout(self.timeout):
                ending = await self._visit(order, route)
        except TimeoutError:
            ending = _ending(order, route, "lost", "timeout")
        except (aiohttp.ClientError, ConnectionError, msgspec.MsgspecError) as error:
            ending = _ending(order, route, "lost", type(error).__name__)
        now = time.perf_counter()
        return msgspec.structs.replace(ending, at=now - self.started, seconds=now - began)

    async def _visit(self, order: Order, route: Route) -> Ending:
        path = {"stream": "/stream", "run": "/", "native": "/v1/generations"}[route]
        headers = {"Content-Type": order.content_type}
        async with self.session.post(self.url + path, data=order.body, headers=headers) as response:
            generation_id = response.headers.get("x-request-id")
            if generation_id is None:
                return await _rejected(order, route, response)
            if order.kind == "vanish":
                await _read_events(response, order.patience)
                response.close()
            elif order.kind == "run":
                return _of_progress(order, route, msgspec.json.decode(await response.read(), type=Progress))
            elif route == "stream":
                return _of_progress(order, route, await _read_events(response))
        return await self._see_the_end(order, route, generation_id)

    async def _see_the_end(self, order: Order, route: Route, generation_id: str) -> Ending:
        """Watches until it is over; who has lost patience cancels it first."""
        url = f"{self.url}/v1/generations/{generation_id}"
        if order.kind == "delete":
            await asyncio.sleep(order.patience / 10)
            await self._record("DELETE", url)
        async with self.session.get(f"{url}/events", raise_for_status=True) as response:
            await response.read()
        record = await self._record("GET", url)
        if record.status not in FINAL:
            return _ending(order, route, "lost", f"the stream ended while it was {record.status}")
        if record.error is not None:
            return _failed(order, route, record.error.code)
        if record.status == "cancelled":
            return _ending(order, route, "cancelled")
        return _ending(order, route, "ok", images=len(record.images))

    async def _record(self, method: str, url: str) -> Record:
        async with self.session.request(method, url, raise_for_status=True) as response:
            return msgspec.json.decode(await response.read(), type=Record)


async def _read_events(response: aiohttp.ClientResponse, most: int | None = None) -> Progress:
    """The last of at most `most` events."""
    parser, last, num_events = EventParser(), Progress(), 0
    while most is None or num_events < most:
        chunk = await response.content.read(READ_BYTES)
        if not chunk:
            break
        for data in parser.feed(chunk):
            last, num_events = msgspec.json.decode(data, type=Progress), num_events + 1
            if last.error is not None:
                return last
    return last


def _of_progress(order: Order, route: Route, progress: Progress) -> Ending:
    if progress.error is not None:
        return _failed(order, route, progress.error.code)
    if not progress.images:
        return _ending(order, route, "lost", "truncated")
    return _ending(order, route, "ok", images=len(progress.images))


def _failed(order: Order, route: Route, code: str) -> Ending:
    if code == "deadline":
        return _ending(order, route, "deadline")
    return _ending(order, route, "cancelled" if code == "cancelled" else "error", code)


async def _rejected(order: Order, route: Route, response: aiohttp.ClientResponse) -> Ending:
    refusal = msgspec.json.decode(await response.read(), type=Refusal)
    ending = _ending(order, route, "rejected", refusal.error_type)
    return msgspec.structs.replace(ending, retry_after=float(response.headers.get("Retry-After", 0)))


def _ending(order: Order, route: Route, outcome: Outcome, reason: str = "", images: int = 0) -> Ending:
    return Ending(index=order.index, kind=order.kind, route=route, outcome=outcome, reason=reason, images=images)
