"""`WS /realtime`, as fal's clients speak it: MessagePack both ways, pictures as raw bytes."""

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import WSMsgType, web
from aiohttp.http import WSMessage

from scheduler.messages import Finished, Preview
from service.api.notices import notices
from service.api.sockets import Dialect, Message, SocketBody, read_json, serve_socket, unreadable
from service.errors import ApiError
from service.generation import Event
from service.routes import Answer, Route
from service.sse import ascii_json


class FalDialect(Dialect):
    """Requests may also come as JSON in text frames; errors always leave in those."""

    name = "realtime"

    def decode(self, frame: WSMessage) -> Any:
        if frame.type is WSMsgType.TEXT:
            return read_json(frame.data)
        try:
            return msgspec.msgpack.decode(frame.data)
        except (ValueError, RecursionError) as error:
            raise unreadable("MessagePack") from error

    def tell(self, event: Event, asked: SocketBody) -> Sequence[Message]:
        generation, preview = event.generation, event.preview
        pictures: Sequence[Preview | Finished] = [preview] if preview is not None else generation.pictures
        data: dict[str, object] = {
            "images": [_image(picture) for picture in pictures],
            "request_id": generation.id if asked.request_id is None else asked.request_id,
            "step": generation.params.num_steps if preview is None else preview.step,
            "total_steps": generation.params.num_steps,
            "seed": generation.params.seed,
        }
        if preview is None:
            data |= {"timings": generation.timings, **notices(generation)}
        elif len(generation.images) > 1:
            data["image_index"] = event.image_index
        return [msgspec.msgpack.encode(data)]

    def refuse(self, error: ApiError, request_id: str | None) -> Message:
        data = {"type": "x-fal-error", "error": error.error_type, "reason": str(error)}
        return ascii_json(data if request_id is None else {**data, "request_id": request_id}).decode("ascii")


def _image(picture: Preview | Finished) -> dict[str, object]:
    return {
        "content": picture.data,
        "content_type": picture.content_type,
        "width": picture.width,
        "height": picture.height,
    }


async def realtime(request: web.Request) -> web.StreamResponse:
    return await serve_socket(request, FalDialect())


ROUTES = [
    Route(
        "GET",
        path,
        realtime,
        "A WebSocket: requests and pictures as MessagePack (fal)",
        [Answer("The connection is a WebSocket now", status=101, content_type="application/msgpack")],
        (426, 429),
    )
    for path in ("/realtime", "/{owner}/{alias}/realtime")
]
