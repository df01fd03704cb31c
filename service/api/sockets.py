"""WebSockets: many requests on one connection, each answered by messages of its own."""

import asyncio
import contextlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.http import WSMessage
from aiohttp.log import ws_logger
from pydantic import Field

from service.access import OpenStream, admit
from service.api.admission import MAX_BODY_BYTES, counted
from service.api.failures import failure_of
from service.api.streaming import CountedStream, count_sent, kind_of
from service.errors import ApiError, Problem
from service.generation import Event, Generation
from service.keys import GENERATIONS, METRICS, SOCKETS
from service.schemas import GenerateBody
from service.sse import SEND_TIMEOUT_SECONDS, bound_send_buffer
from service.streams import KeepAlive

HEARTBEAT_SECONDS = 15.0
CLOSE_SECONDS = 2.0  # what clients get to answer when the service closes
MAX_LIVE = 16  # requests at once on one connection
MAX_REQUEST_ID = 128

ws_logger.setLevel(logging.ERROR)  # below, it logs what clients send

Message = str | bytes
"""A text frame or a binary one."""


class SocketBody(GenerateBody):
    """What a message asks for."""

    request_id: str | None = Field(None, max_length=MAX_REQUEST_ID)
    """The client's own name for the request; it comes back with every message about it."""
    supersede: bool = False
    """Cancels the last request of this connection at its next step, and no more is told of it; not if this one is
    refused.
    """


class Dialect(ABC):
    """How one route writes its messages. `name` is that of the route in the metrics."""

    name: str
    body: type[SocketBody] = SocketBody

    @abstractmethod
    def decode(self, frame: WSMessage) -> Any:
        """Raises `ApiError` 400 where the frame cannot be read."""

    @abstractmethod
    def tell(self, event: Event, asked: Any) -> Sequence[Message]:
        """A preview or a good end; `asked` is of the type `body`."""

    @abstractmethod
    def refuse(self, error: ApiError, request_id: str | None) -> Message:
        """What went wrong, with the request if it has a name, or with the connection."""


async def serve_socket(request: web.Request, dialect: Dialect) -> web.StreamResponse:
    """Answers until the client goes; what then runs is cancelled at the next step."""
    if not is_handshake(request):
        raise ApiError.plain(426, "upgrade_required", "open a WebSocket at this address", {"Upgrade": "websocket"})
    socket = web.WebSocketResponse(
        heartbeat=HEARTBEAT_SECONDS,
        max_msg_size=MAX_BODY_BYTES,
        compress=False,  # pictures are compressed already
        writer_limit=1,  # wait for the reader after every frame
    )
    if request.transport is not None:
        bound_send_buffer(request.transport)
    with OpenStream(request):
        await socket.prepare(request)
        with _remembered(request.app, socket):
            await Connection(request, socket, dialect).serve()
    return socket


def is_handshake(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def close_sockets(app: web.Application) -> None:
    """Says goodbye on every connection: the service stops."""
    closing = [
        socket.close(code=WSCloseCode.GOING_AWAY, message=b"the service is shutting down") for socket in app[SOCKETS]
    ]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await asyncio.gather(*closing, return_exceptions=True)


@contextlib.contextmanager
def _remembered(app: web.Application, socket: web.WebSocketResponse) -> Iterator[None]:
    app[SOCKETS].add(socket)
    try:
        yield
    finally:
        app[SOCKETS].discard(socket)


class Connection:
    """One client. Each of its requests is streamed by a task of its own; frames leave one at a time."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, dialect: Dialect) -> None:
        self._request = request
        self._generations = request.app[GENERATIONS]
        self._metrics = request.app[METRICS]
        self._socket = socket
        self._dialect = dialect
        self._live: dict[asyncio.Task[None], Generation] = {}
        self._last: asyncio.Task[None] | None = None  # also when it is done
        self._sending = asyncio.Lock()

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            try:
                async for frame in self._socket:
                    if frame.type is WSMsgType.ERROR:
                        break
                    await self._take(frame, tasks)
            finally:
                for task, generation in self._live.items():
                    self._generations.cancel(generation, "disconnect")  # its task may not have begun to watch it
                    task.cancel()
        if self._socket.close_code == WSCloseCode.ABNORMAL_CLOSURE:
            self._abort()  # or what it never read would be kept for it

    async def _take(self, frame: WSMessage, tasks: asyncio.TaskGroup) -> None:
        """A frame that is wrong is answered, and the connection lives on."""
        request_id = None
        try:
            with counted(self._metrics, self._dialect.name):
                data = self._dialect.decode(frame)
                request_id = _request_id(data)
                self._start(data, tasks)
        except ApiError as error:
            await self._send(self._dialect.refuse(error, request_id))

    def _start(self, data: Any, tasks: asyncio.TaskGroup) -> None:
        model = self._generations.model()
        asked = self._dialect.body.of(data, model)
        last = self._last if asked.supersede and self._last in self._live else None
        if len(self._live) - (last is not None) >= MAX_LIVE:
            raise ApiError.plain(429, "too_many_requests", f"at most {MAX_LIVE} requests at once on one connection")
        instead_of = self._live[last] if last is not None else None
        generation = admit(self._request, asked.to_params(model), grace=0, instead_of=instead_of)
        if last is not None:  # only now, or a refusal would leave the client with neither
            self._supersede(last)
        self._last = task = tasks.create_task(self._stream(generation, asked))
        self._live[task] = generation
        task.add_done_callback(lambda done: self._live.pop(done, None))

    def _supersede(self, task: "asyncio.Task[None]") -> None:
        self._generations.cancel(self._live.pop(task), "api")
        task.cancel()

    async def _stream(self, generation: Generation, asked: SocketBody) -> None:
        with self._generations.watch([generation]) as mailbox, CountedStream(self._metrics):
            async for event in mailbox:
                for message in self._messages(event, asked):
                    await self._send(message)
                    count_sent(self._metrics, kind_of(event), len(message))

    def _messages(self, event: Event | KeepAlive, asked: SocketBody) -> Sequence[Message]:
        if isinstance(event, KeepAlive):
            return []
        if event.preview is not None or event.name == "succeeded":
            return self._dialect.tell(event, asked)
        return [self._dialect.refuse(failure_of(event.generation), asked.request_id)] if event.is_final else []

    async def _send(self, message: Message) -> None:
        """A reader that is gone, or takes nothing for too long, is given up."""
        try:
            async with self._sending, asyncio.timeout(SEND_TIMEOUT_SECONDS):
                if isinstance(message, str):
                    await self._socket.send_str(message)
                else:
                    await self._socket.send_bytes(message)
        except TimeoutError:
            self._metrics.slow_client_closes.inc()
            self._abort()
        except ConnectionError:
            self._abort()

    def _abort(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()


def _request_id(data: Any) -> str | None:
    """The name of a request that may turn out to be wrong."""
    name = data.get("request_id") if isinstance(data, dict) else None
    return name if isinstance(name, str) and len(name) <= MAX_REQUEST_ID else None


def read_json(text: str) -> Any:
    """Raises `ApiError` 400."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise unreadable("JSON") from error


def unreadable(wanted: str) -> ApiError:
    return ApiError(400, "validation", [Problem(loc=["body"], msg=f"must be valid {wanted}", type="invalid_frame")])
