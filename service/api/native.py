"""The native interface: create a generation, watch it from anywhere, fetch it, cancel it."""

import math
from collections.abc import Sequence

from aiohttp import web
from pydantic import BaseModel

from service import access
from service.api.admission import counted, read_params, request_id_headers
from service.api.encodings import json_base64_of
from service.api.streaming import EventId, last_event_id, stream_events
from service.errors import ApiError, Problem, not_found
from service.generation import Event, Generation
from service.keys import GENERATIONS, METRICS
from service.records import CreatedRecord, GenerationRecord
from service.routes import EVENT_STREAM, Answer, Route
from service.schemas import GenerateBody
from service.sse import ascii_json, sse_frame


async def create(request: web.Request) -> web.StreamResponse:
    generations = request.app[GENERATIONS]
    with counted(request.app[METRICS], "native"):
        generation = access.admit(request, await read_params(request), grace=None)
    url = f"/v1/generations/{generation.id}"
    created = CreatedRecord(**generations.record(generation).model_dump(), events_url=f"{url}/events")
    return _json(created, status=202, headers={"Location": url, **request_id_headers(generation.id)})


async def show(request: web.Request) -> web.StreamResponse:
    return _json(request.app[GENERATIONS].record(_find(request)))


async def cancel(request: web.Request) -> web.StreamResponse:
    generation = _find(request)
    request.app[GENERATIONS].cancel(generation, "api")
    return _json(request.app[GENERATIONS].record(generation))


async def image(request: web.Request) -> web.StreamResponse:
    pictures = {str(number): picture for number, picture in enumerate(_find(request).pictures)}
    picture = pictures.get(request.match_info["number"])
    if picture is None:
        raise not_found("image")
    # Safe to keep: an id is never used again, and its picture never changes.
    headers = {"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=picture.data, content_type=picture.content_type, headers=headers)


async def events(request: web.Request) -> web.StreamResponse:
    """Only attaches: all that came after `Last-Event-ID`, or the newest state, and all that follows."""
    seen = last_event_id(request)
    if seen is None:
        return await _stream(request, [_find(request)])
    generation = access.find(request, request.match_info["id"])
    if generation is None or seen.generation_id != generation.id or _has_seen_the_end(generation, seen):
        return _nothing_more(request)
    request.app[METRICS].stream_resumes.labels("hit").inc()
    return await _stream(request, [generation], after=seen.number)


async def many_events(request: web.Request) -> web.StreamResponse:
    """Many generations on one stream: of each its newest state, and all that follows. Unknown ids are passed over."""
    generations = _find_many(request)
    seen = last_event_id(request)
    if seen is None:
        if not generations:
            raise not_found("all of these generations")
        return await _stream(request, generations)
    # They are sent in the order of their ends, so who has seen the end of the last one has seen them all.
    if not generations or (generations[-1].is_over and _has_seen_the_end(generations[-1], seen)):
        return _nothing_more(request)
    request.app[METRICS].stream_resumes.labels("hit").inc()
    return await _stream(request, generations)


async def _stream(
    request: web.Request, generations: Sequence[Generation], after: int | None = None
) -> web.StreamResponse:
    headers = request_id_headers(generations[0].id) if len(generations) == 1 else {}
    with request.app[GENERATIONS].watch(generations, after) as mailbox:
        return await stream_events(request, mailbox, encode_event, headers)


def _nothing_more(request: web.Request) -> web.Response:
    """204 tells EventSource to stop."""
    request.app[METRICS].stream_resumes.labels("miss").inc()
    return web.Response(status=204)


def _has_seen_the_end(generation: Generation, seen: EventId) -> bool:
    final = generation.final_number
    return final is not None and seen.generation_id == generation.id and seen.number >= final


def _find(request: web.Request) -> Generation:
    generation = access.find(request, request.match_info["id"])
    if generation is None:
        raise not_found("generation")
    return generation


def _find_many(request: web.Request) -> list[Generation]:
    """Those that are over first, in the order of their ends."""
    ids = list(dict.fromkeys(filter(None, request.query.get("ids", "").split(","))))
    if not ids:
        problem = Problem(
            loc=["query", "ids"], msg="must be the ids of generations, with commas between", type="missing"
        )
        raise ApiError(422, "validation", [problem])
    found = [generation for one in ids if (generation := access.find(request, one))]
    # Looking for one may forget another that has just been found.
    found = [generation for generation in found if not generation.is_forgotten]
    return sorted(found, key=lambda generation: generation.finished_at or math.inf)


def encode_event(event: Event) -> bytes:
    preview = event.preview
    if preview is None:
        assert event.record is not None
        return sse_frame(ascii_json(event.record.model_dump()), event_id=event.id, name=event.name)
    data = {
        "id": event.generation.id,
        "image_index": event.image_index,
        "step": preview.step,
        "total_steps": preview.total_steps,
        "width": preview.width,
        "height": preview.height,
        "content_type": preview.content_type,
        "image": json_base64_of(preview),
    }
    return sse_frame(ascii_json(data), event_id=event.id, name=event.name)


def _json(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    encoded = ascii_json(body.model_dump())
    return web.Response(body=encoded, status=status, content_type="application/json", headers=headers)


ONE = "/v1/generations/{id}"

ROUTES = [
    Route(
        "POST",
        "/v1/generations",
        create,
        "Start to paint a picture",
        [Answer("Admitted", status=202, body=CreatedRecord)],
        (400, 413, 415, 422, 429, 503),
        body=GenerateBody,
    ),
    Route("GET", ONE, show, "What has become of it", [Answer("The generation", body=GenerationRecord)], (404,)),
    Route("DELETE", ONE, cancel, "Cancel it", [Answer("The generation as it is", body=GenerationRecord)], (404,)),
    Route(
        "GET",
        ONE + "/events",
        events,
        "Watch it; Last-Event-ID resumes",
        [
            Answer("queued, started, preview, then succeeded, failed or cancelled", content_type=EVENT_STREAM),
            Answer("Nothing more will come", status=204),
        ],
        (404, 429),
    ),
    Route(
        "GET",
        ONE + "/images/{number}",
        image,
        "A finished picture, numbered from 0",
        [Answer("The picture", content_type="image/*")],
        (404,),
    ),
    Route(
        "GET",
        "/v1/events",
        many_events,
        "Watch many generations on one stream",
        [
            Answer("The events of all of them", content_type=EVENT_STREAM),
            Answer("Nothing more will come", status=204),
        ],
        (404, 422, 429),
        query={"ids": "Ids of generations, with commas between"},
    ),
]
