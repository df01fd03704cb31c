"""`GET /generate` for a browser's EventSource: it starts a generation, or re-attaches to one by `Last-Event-ID`."""

import base64
import functools
from collections.abc import Callable, Mapping

from aiohttp import web

from scheduler.messages import Finished, Preview
from service.api.admission import counted, request_id_headers
from service.api.failures import failure_frame
from service.api.streaming import EventId, last_event_id, stream_events
from service.errors import ApiError, Problem
from service.generation import Encoder, Event, Generation
from service.keys import GENERATIONS, METRICS, SETTINGS
from service.routes import EVENT_STREAM, Answer, Route
from service.schemas import GenerateBody
from service.sse import ascii_json, sse_frame

DONE = b"[DONE]"

ENCODINGS: Mapping[str, Callable[[Preview | Finished], str]] = {
    "hex": lambda picture: picture.data.hex(),
    "base64": lambda picture: base64.b64encode(picture.data).decode("ascii"),
    "url": lambda picture: f"data:{picture.content_type};base64,{base64.b64encode(picture.data).decode('ascii')}",
}


async def generate(request: web.Request) -> web.StreamResponse:
    fields = dict(request.query)
    encode = _encoder(fields.pop("encoding", "hex"))
    seen = last_event_id(request)
    if seen is None:
        return await _stream(request, _start(request, fields), encode, after=0)
    return await _resume(request, seen, encode)


def _encoder(encoding: str) -> Encoder:
    if encoding not in ENCODERS:
        message = "must be one of " + ", ".join(ENCODERS)
        raise ApiError(422, "validation", [Problem(loc=["query", "encoding"], msg=message, type="literal_error")])
    return ENCODERS[encoding]


def _start(request: web.Request, fields: Mapping[str, str]) -> Generation:
    app = request.app
    with counted(app[METRICS], "generate"):
        model = app[GENERATIONS].model()
        params = GenerateBody.parse_strings(fields, model).to_params(model)
        return app[GENERATIONS].admit(params, grace=app[SETTINGS].grace)


async def _resume(request: web.Request, seen: EventId, encode: Encoder) -> web.StreamResponse:
    """204 tells EventSource to stop: that generation is over, or unknown here."""
    generation = request.app[GENERATIONS].get(seen.generation_id)
    is_over = generation is not None and generation.final_number is not None and seen.number >= generation.final_number
    if generation is None or is_over:
        request.app[METRICS].stream_resumes.labels("miss").inc()
        return web.Response(status=204)
    request.app[METRICS].stream_resumes.labels("hit").inc()
    has_image = generation.final_number is not None and seen.number == generation.final_number - 1
    return await _stream(request, generation, _encode_done if has_image else encode, after=seen.number)


async def _stream(request: web.Request, generation: Generation, encode: Encoder, after: int) -> web.StreamResponse:
    with request.app[GENERATIONS].watch([generation], after) as mailbox:
        response = await stream_events(request, mailbox, encode, request_id_headers(generation.id))
    if generation.is_over and generation.status != "succeeded":
        await response.break_off()
    return response


def _encode_event(event: Event, encoding: str) -> bytes:
    """The finished picture and `[DONE]` are two blocks, and have the event's two numbers."""
    generation = event.generation
    if event.preview is not None:
        return _image_frame(event.preview, event.preview.step, event, event.id, encoding)
    if generation.finished is not None and event.name == "succeeded":
        image_id = f"{generation.id}.{event.number - 1}"
        image = _image_frame(generation.finished, generation.params.num_steps, event, image_id, encoding)
        return image + _encode_done(event)
    return failure_frame(generation, event.id) if event.is_final else b""


def _encode_done(event: Event) -> bytes:
    return sse_frame(DONE, event_id=event.id)


def _image_frame(picture: Preview | Finished, step: int, event: Event, event_id: str, encoding: str) -> bytes:
    total_steps = event.generation.params.num_steps
    image = ENCODINGS[encoding](picture)
    return sse_frame(ascii_json({"step": step, "total_steps": total_steps, "image": image}), event_id=event_id)


ENCODERS: Mapping[str, Encoder] = {name: functools.partial(_encode_event, encoding=name) for name in ENCODINGS}

ROUTES = [
    Route(
        "GET",
        "/generate",
        generate,
        "Paint a picture and stream it to an EventSource, or re-attach by Last-Event-ID",
        [
            Answer("Previews, the finished picture, then [DONE]", content_type=EVENT_STREAM),
            Answer("Nothing more will come", status=204),
        ],
        (422, 503),
        query_body=GenerateBody,
        query={"encoding": "How images are written: hex (the default), base64, or url (a data URL)"},
    ),
]
