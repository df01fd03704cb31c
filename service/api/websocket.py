"""`WS /generate`, for browsers without a library: JSON both ways."""

from collections.abc import Sequence
from typing import Any

from aiohttp import WSMsgType, web
from aiohttp.http import WSMessage

from scheduler.messages import Finished, Preview
from service.api.encodings import ENCODINGS, Encoding
from service.api.notices import notices
from service.api.sockets import Dialect, Message, SocketBody, read_json, serve_socket, unreadable
from service.errors import ApiError
from service.generation import Event
from service.sse import ascii_json


class WebSocketBody(SocketBody):
    """Asks for pictures; each then comes as a message, and `{"done": true}` as the last one."""

    encoding: Encoding = "hex"
    """How images are written; `url`: as a data URL."""


class JsonDialect(Dialect):
    name = "websocket"
    body = WebSocketBody

    def decode(self, frame: WSMessage) -> Any:
        if frame.type is not WSMsgType.TEXT:
            raise unreadable("JSON in a text frame")
        return read_json(frame.data)

    def tell(self, event: Event, asked: WebSocketBody) -> Sequence[Message]:
        if event.preview is not None:
            return [_image(event.preview, event.preview.step, event, event.image_index, asked)]
        total = event.generation.params.num_steps
        images = [
            _image(picture, total, event, index, asked) for index, picture in enumerate(event.generation.pictures)
        ]
        return [*images, _message({"done": True, **notices(event.generation)}, asked.request_id)]

    def refuse(self, error: ApiError, request_id: str | None) -> Message:
        return _message({"error": error.body.error.model_dump(), "detail": str(error)}, request_id)


def _image(picture: Preview | Finished, step: int, event: Event, index: int, asked: WebSocketBody) -> Message:
    data: dict[str, object] = {"image": ENCODINGS[asked.encoding](picture), "step": step}
    data["total_steps"] = event.generation.params.num_steps
    if len(event.generation.images) > 1:
        data["image_index"] = index
    return _message(data, asked.request_id)


def _message(data: dict[str, object], request_id: str | None) -> Message:
    named = data if request_id is None else {**data, "request_id": request_id}
    return ascii_json(named).decode("ascii")


async def converse(request: web.Request) -> web.StreamResponse:
    return await serve_socket(request, JsonDialect())
