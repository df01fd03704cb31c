"""Ways to write one event to all who listen, each by its own means, all with the same bytes."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from aiohttp import web
from aiohttp_sse import EventSourceResponse

from benchmarks.fanout.events import ANSWER_HEAD, chunk_of, data_of
from service.frames import Frame
from service.sse import EventStream, bound_send_buffer

LOCALHOST = "127.0.0.1"
BACKLOG = 1024


class Way(Protocol):
    """`url` is where to listen to it."""

    url: str

    @property
    def num_listening(self) -> int: ...

    async def send(self) -> None:
        """Writes the event once to all who listen."""


class _BareProtocol(asyncio.Protocol):
    """Answers whatever comes with the head of a stream, and is written to from then on."""

    def __init__(self, chunk: Callable[[], bytes], transports: dict[Any, bytes]) -> None:
        self._chunk = chunk
        self._transports = transports
        self._transport: Any = None  # uvloop's is no asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - one request, whatever it says
        bound_send_buffer(self._transport)
        self._transport.write(ANSWER_HEAD)
        self._transports[self._transport] = self._chunk()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._transports.pop(self._transport, None)


class Bare:
    """A protocol of asyncio: no HTTP but the answer's head, no task for a stream."""

    def __init__(self, frame: bytes) -> None:
        self.url = ""
        self._chunk = chunk_of(frame)
        self._transports: dict[Any, bytes] = {}  # with what each writes

    @property
    def num_listening(self) -> int:
        return len(self._transports)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        listener = _listener()
        self.url = _url(listener)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _BareProtocol(self._chunk_to_write, self._transports), sock=listener, backlog=BACKLOG
        )
        try:
            yield
        finally:
            server.close()

    async def send(self) -> None:
        for transport, chunk in self._transports.items():
            transport.write(chunk)

    def _chunk_to_write(self) -> bytes:
        return self._chunk


class BareEach(Bare):
    """The same bytes for each stream, though not the same memory: as with pictures of which each has one watcher."""

    def _chunk_to_write(self) -> bytes:
        return bytes(bytearray(self._chunk))


class _Aiohttp:
    """Its streams are made by `open_stream`, one a request."""

    def __init__(self, open_stream: Callable[[], web.StreamResponse]) -> None:
        self.url = ""
        self._open = open_stream
        self._streams: dict[Any, None] = {}

    @property
    def num_listening(self) -> int:
        return len(self._streams)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_post("/stream", self._handle)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0)
        await runner.setup()
        listener = _listener()
        self.url = _url(listener)
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        try:
            yield
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        stream = self._open()
        await stream.prepare(request)
        self._streams[stream] = None
        try:
            await asyncio.Event().wait()
        finally:
            del self._streams[stream]
        return stream


class WriteFrame(_Aiohttp):
    """The service's `EventStream`, the event encoded beforehand."""

    def __init__(self, frame: bytes) -> None:
        super().__init__(lambda: EventStream({}))
        self._frame = Frame(frame)

    async def send(self) -> None:
        for stream in self._streams:
            await stream.write_frame(self._frame)


class AiohttpSse(_Aiohttp):
    """`EventSourceResponse.send`."""

    def __init__(self, frame: bytes) -> None:
        super().__init__(lambda: EventSourceResponse(sep="\n", allow_all_methods=True))
        self._data = data_of(frame)

    async def send(self) -> None:
        for stream in self._streams:
            await stream.send(self._data)


class Starlette:
    """FastAPI and sse-starlette on uvicorn with httptools: a generator for each stream, which waits for its queue."""

    def __init__(self, frame: bytes) -> None:
        self.url = ""
        self._event = {"data": data_of(frame)}
        self._queues: dict[asyncio.Queue[dict[str, str]], None] = {}

    @property
    def num_listening(self) -> int:
        return len(self._queues)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        import uvicorn  # here, because only this way needs it

        listener = _listener()
        self.url = _url(listener)
        config = uvicorn.Config(self._app(), http="httptools", log_level="warning", access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        running = asyncio.create_task(server._serve([listener]))  # `serve` would take over the signals
        try:
            yield
        finally:
            server.should_exit = server.force_exit = True
            await running

    async def send(self) -> None:
        for queue in self._queues:
            queue.put_nowait(self._event)

    def _app(self) -> Any:
        from fastapi import FastAPI
        from sse_starlette import EventSourceResponse as StarletteResponse

        app = FastAPI()
        app.add_api_route("/stream", lambda: StarletteResponse(self._events(), sep="\n"), methods=["POST"])
        return app

    async def _events(self) -> AsyncIterator[dict[str, str]]:
        queue: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._queues[queue] = None
        try:
            while True:
                yield await queue.get()
        finally:
            del self._queues[queue]


class Nothing:
    """A turn in which nothing is written: what the measuring itself takes."""

    url = ""
    num_listening = 0

    async def send(self) -> None:
        pass


WAYS: dict[str, Callable[[bytes], Any]] = {
    "bare": Bare,
    "bare_each": BareEach,
    "write_frame": WriteFrame,
    "aiohttp_sse": AiohttpSse,
    "starlette": Starlette,
}


def _listener() -> socket.socket:
    listener = socket.socket()
    listener.bind((LOCALHOST, 0))
    listener.listen(BACKLOG)
    return listener


def _url(listener: socket.socket) -> str:
    return f"http://{LOCALHOST}:{listener.getsockname()[1]}"
