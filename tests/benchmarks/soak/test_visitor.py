"""One client of mixed traffic against answers of every kind."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from benchmarks.soak.traffic import Kind, Order
from benchmarks.soak.visitor import Ending, Visitor

ID = {"x-request-id": "g"}
PREVIEW = b'data: {"step":1,"total_steps":2,"image":{}}\n\n'
FINAL = b'data: {"step":2,"total_steps":2,"image":{},"images":[{},{}]}\n\n'
DEADLINE = b'data: {"error":{"code":"deadline"},"detail":"too late"}\n\n'
BROKEN = b'data: {"error":{"code":"engine_error"},"detail":"broken"}\n\n'

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Visit = Callable[[Kind, str], Awaitable[Ending]]


def record(status: str, code: str | None = None, images: int = 0) -> dict[str, object]:
    error = None if code is None else {"code": code, "message": "so it is"}
    return {"id": "g", "status": status, "images": [{}] * images, "error": error}


def streams(*events: bytes) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=ID)
        await response.prepare(request)
        for event in events:
            await response.write(event)
        return response

    return handle


def answers(status: int, body: object, **headers: str) -> Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return handle


class Service:
    """Answers as it is told to; `left` is set when a client leaves in mid-stream, `deleted` counts DELETEs."""

    def __init__(self) -> None:
        self.stream: Handler = streams(PREVIEW, FINAL)
        self.run: Handler = answers(200, {"images": [{}]}, **ID)
        self.record = record("succeeded", images=1)
        self.left = asyncio.Event()
        self.deleted = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.post("/stream", self._stream),
                web.post("/", self._run),
                web.post("/v1/generations", answers(202, record("queued"), **ID)),
                web.get("/v1/generations/g", self._show),
                web.delete("/v1/generations/g", self._delete),
                web.get("/v1/generations/g/events", streams(b"event: queued\ndata: {}\n\n")),
            ]
        )
        return app

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        return await self.stream(request)

    async def _run(self, request: web.Request) -> web.StreamResponse:
        return await self.run(request)

    async def endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=ID)
        await response.prepare(request)
        try:
            while True:
                await response.write(PREVIEW)
                await asyncio.sleep(0)
        finally:
            self.left.set()

    async def _show(self, _: web.Request) -> web.Response:
        return web.json_response(self.record)

    async def _delete(self, _: web.Request) -> web.Response:
        self.deleted += 1
        self.record = record("cancelled")
        return web.json_response(self.record)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def visitor(service: Service, aiohttp_server: AiohttpServer) -> AsyncIterator[Visitor]:
    server = await aiohttp_server(service.app())
    async with aiohttp.ClientSession() as session:
        yield Visitor(session, str(server.make_url("")).rstrip("/"), time.perf_counter(), timeout=20)


def order(kind: Kind, patience: int = 0) -> Order:
    return Order(index=3, kind=kind, body=b"{}", content_type="application/json", patience=patience)


async def test_a_stream_watched_to_its_end(visitor: Visitor) -> None:
    ending = await visitor.visit(order("watch"))
    assert (ending.index, ending.kind, ending.route, ending.outcome, ending.images) == (3, "watch", "stream", "ok", 2)
    assert 0 < ending.seconds <= ending.at


@pytest.mark.parametrize(
    ("events", "outcome", "reason"),
    [((PREVIEW, DEADLINE), "deadline", ""), ((BROKEN,), "error", "engine_error"), ((PREVIEW,), "lost", "truncated")],
)
async def test_a_stream_that_ends_otherwise(
    service: Service, visitor: Visitor, events: tuple[bytes, ...], outcome: str, reason: str
) -> None:
    service.stream = streams(*events)
    ending = await visitor.visit(order("watch"))
    assert (ending.outcome, ending.reason) == (outcome, reason)


@pytest.mark.parametrize("patience", [0, 3])
async def test_who_leaves_in_mid_stream_learns_the_end_from_the_record(
    service: Service, visitor: Visitor, patience: int
) -> None:
    service.stream, service.record = service.endless, record("cancelled")
    ending = await visitor.visit(order("vanish", patience))
    assert (ending.route, ending.outcome) == ("stream", "cancelled")
    await asyncio.wait_for(service.left.wait(), 20)


async def test_who_leaves_too_late_has_a_picture_after_all(visitor: Visitor) -> None:
    ending = await visitor.visit(order("vanish", patience=5))
    assert (ending.outcome, ending.images) == ("ok", 1)


async def test_a_single_answer(service: Service, visitor: Visitor) -> None:
    ending = await visitor.visit(order("run"))
    assert (ending.route, ending.outcome, ending.images) == ("run", "ok", 1)
    service.run = answers(504, {"error_type": "deadline", "error": {"code": "deadline"}}, **ID)
    assert (await visitor.visit(order("run"))).outcome == "deadline"


async def test_what_was_created_is_looked_after(service: Service, visitor: Visitor) -> None:
    ending = await visitor.visit(order("create"))
    assert (ending.route, ending.outcome, service.deleted) == ("native", "ok", 0)
    service.record = record("failed", "deadline")
    assert (await visitor.visit(order("create"))).outcome == "deadline"


async def test_what_was_created_is_cancelled(service: Service, visitor: Visitor) -> None:
    assert (await visitor.visit(order("delete"))).outcome == "cancelled"
    assert service.deleted == 1


async def test_events_that_end_before_the_generation_are_a_loss(service: Service, visitor: Visitor) -> None:
    service.record = record("running")
    ending = await visitor.visit(order("create"))
    assert (ending.outcome, ending.reason) == ("lost", "the stream ended while it was running")


async def test_a_refusal_has_its_reason_and_when_to_come_back(service: Service, visitor: Visitor) -> None:
    service.stream = answers(503, {"error_type": "queue_full"}, **{"Retry-After": "2"})
    ending = await visitor.visit(order("invalid"))
    assert (ending.route, ending.outcome, ending.reason) == ("stream", "rejected", "queue_full")
    assert ending.retry_after == 2.0


async def test_no_answer_at_all_is_a_loss(service: Service, visitor: Visitor) -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    service.stream = hang_up
    assert (await visitor.visit(order("watch"))).outcome == "lost"


async def test_what_takes_for_ever_is_a_loss(service: Service, visitor: Visitor) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    service.stream = hang
    impatient = Visitor(visitor.session, visitor.url, visitor.started, timeout=0.1)
    ending = await impatient.visit(order("watch"))
    assert (ending.outcome, ending.reason) == ("lost", "timeout")
