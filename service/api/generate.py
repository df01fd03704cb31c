"""`GET /generate` for a browser's EventSource: it starts a generation, or re-attaches to one by `Last-Event-ID`."""

import functools
from collections.abc import Iterator, Mapping

from aiohttp import web

from scheduler.messages import Finished, Preview
from service import access
from service.api import websocket
from service.api.admission import counted
from service.api.encodings import ENCODINGS
from service.api.failures import failure_frame
from service.api.notices import notices
from service.api.sockets import is_handshake
from service.api.streaming import HAS_TOLD, EventId, last_event_id, stream_to_its_end
from service.api.unanswered import UNANSWERED, Question
from service.errors import ApiError, Problem
from service.generation import Encoder, Event, Generation
from service.keys import GENERATIONS, METRICS, SETTINGS
from service.routes import EVENT_STREAM, Answer, Route
from service.schemas import GenerateBody
from service.sse import ascii_json, sse_frame

DONE = b"[DONE]"


async def generate(request: web.Request) -> web.StreamResponse:
    if is_handshake(request):
        return await websocket.converse(request)
    fields = {name: value for name, value in request.query.items() if name not in access.KEY_PARAMETERS}
    encoding = _checked(fields.pop("encoding", "hex"))
    seen = last_event_id(request)
    if seen is None:
        return await _paint(request, fields, encoding)
    return await _resume(request, seen, encoding)


def _checked(encoding: str) -> str:
    if encoding not in ENCODINGS:
        message = "must be one of " + ", ".join(ENCODINGS)
        raise ApiError(422, "validation", [Problem(loc=["query", "encoding"], msg=message, type="literal_error")])
    return encoding


async def _paint(request: web.Request, fields: Mapping[str, str], encoding: str) -> web.StreamResponse:
    """Whoever is cut off before the first event comes back without an id, and must not have it painted twice."""
    question = Question(access.owner_of(request), frozenset(fields.items()), encoding)
    generation = _take_back(request, question) or _start(request, fields)
    try:
        return await stream_to_its_end(request, generation, ENCODERS[encoding], after=0)
    finally:
        if HAS_TOLD not in request:
            request.app[UNANSWERED].remember(question, generation)


def _take_back(request: web.Request, question: Question) -> Generation | None:
    generation = request.app[UNANSWERED].take_back(question)
    # One that is over may have been forgotten meanwhile.
    generation = access.find(request, generation.id) if generation is not None else None
    if generation is not None:
        request.app[METRICS].stream_resumes.labels("hit").inc()
    return generation


def _start(request: web.Request, fields: Mapping[str, str]) -> Generation:
    app = request.app
    with counted(app[METRICS], "generate"):
        model = app[GENERATIONS].model()
        params = GenerateBody.parse_strings(fields, model).to_params(model)
        access.check_streams(request)
        return access.admit(request, params, grace=app[SETTINGS].grace)


async def _resume(request: web.Request, seen: EventId, encoding: str) -> web.StreamResponse:
    """204 tells EventSource to stop: that generation is over, or unknown here."""
    generation = access.find(request, seen.generation_id)
    is_over = generation is not None and generation.final_number is not None and seen.number >= generation.final_number
    if generation is None or is_over:
        request.app[METRICS].stream_resumes.labels("miss").inc()
        return web.Response(status=204)
    request.app[METRICS].stream_resumes.labels("hit").inc()
    rest = functools.partial(_encode_event, encoding=encoding, after=seen.number)
    encode = rest if generation.is_over else ENCODERS[encoding]
    return await stream_to_its_end(request, generation, encode, after=seen.number)


def _encode_event(event: Event, encoding: str, after: int = 0) -> bytes:
    """The finished pictures and `[DONE]` are a block each, the last with the event's number; `after`: what was seen."""
    generation = event.generation
    if event.preview is not None:
        return _image_frame(event.preview, event.preview.step, event.image_index, generation, event.id, encoding)
    if event.name == "succeeded":
        return b"".join(frame for number, frame in _final_frames(event, encoding) if number > after)
    return failure_frame(generation, event.id) if event.is_final else b""


def _final_frames(event: Event, encoding: str) -> Iterator[tuple[int, bytes]]:
    """Each with its number."""
    generation, num_steps = event.generation, event.generation.params.num_steps
    first = event.number - len(generation.images)
    for number, (index, picture) in enumerate(enumerate(generation.pictures), first):
        yield number, _image_frame(picture, num_steps, index, generation, f"{generation.id}.{number}", encoding)
    yield event.number, sse_frame(DONE, event_id=event.id)


def _image_frame(
    picture: Preview | Finished, step: int, index: int, generation: Generation, event_id: str, encoding: str
) -> bytes:
    data: dict[str, object] = {"step": step, "total_steps": generation.params.num_steps}
    data |= {"image": ENCODINGS[encoding](picture), **notices(generation)}
    if len(generation.images) > 1:
        data["image_index"] = index
    return sse_frame(ascii_json(data), event_id=event_id)


ENCODERS: Mapping[str, Encoder] = {name: functools.partial(_encode_event, encoding=name) for name in ENCODINGS}

ROUTES = [
    Route(
        "GET",
        "/generate",
        generate,
        "Paint a picture and stream it to an EventSource, or re-attach by Last-Event-ID",
        [
            Answer("Previews, the finished pictures, then [DONE]", content_type=EVENT_STREAM),
            Answer("Nothing more will come", status=204),
        ],
        (422, 429, 503),
        query_body=GenerateBody,
        query={"encoding": "How images are written: hex (the default), base64, or url (a data URL)"},
    ),
]
