"""fal's wire format: `POST /stream` and `POST /`."""

import base64

import msgspec
from aiohttp import web
from pydantic import BaseModel

from scheduler.messages import Finished, Preview
from service.api.admission import counted, read_params, request_id_headers
from service.api.failures import failure_frame, failure_of
from service.api.streaming import stream_events
from service.generation import Event, Generation
from service.keys import GENERATIONS, METRICS
from service.routes import EVENT_STREAM, Answer, Route
from service.schemas import GenerateBody
from service.sse import ascii_json, sse_frame


class FalImage(BaseModel):
    """A picture as a data URL."""

    url: str
    content_type: str
    width: int
    height: int


class FalOutput(BaseModel):
    """The finished picture; `image` is the first of `images`. Timings in seconds."""

    image: FalImage
    images: list[FalImage]
    seed: int
    timings: dict[str, float]


async def stream(request: web.Request) -> web.StreamResponse:
    with counted(request.app[METRICS], "stream"):
        params = await read_params(request)
        generation = request.app[GENERATIONS].admit(params, grace=0)
    with request.app[GENERATIONS].watch([generation]) as mailbox:
        response = await stream_events(request, mailbox, encode_event, request_id_headers(generation.id))
    if generation.is_over and generation.status != "succeeded":
        await response.break_off()
    return response


async def run(request: web.Request) -> web.StreamResponse:
    with counted(request.app[METRICS], "run"):
        params = msgspec.structs.replace(await read_params(request), preview_every=0)
        generation = request.app[GENERATIONS].admit(params, grace=0)
    with request.app[GENERATIONS].watch([generation]) as mailbox:
        async for _ in mailbox:
            pass
    if generation.finished is None:
        raise failure_of(generation)
    return web.Response(
        body=ascii_json(_output(generation, generation.finished)),
        content_type="application/json",
        headers=request_id_headers(generation.id),
    )


def encode_event(event: Event) -> bytes:
    generation = event.generation
    if event.preview is not None:
        return sse_frame(ascii_json({"image": _image(event.preview), **_progress(generation, event.preview.step)}))
    if event.name == "succeeded" and generation.finished is not None:
        image = _image(generation.finished)
        return sse_frame(
            ascii_json({"image": image, "images": [image], **_progress(generation, generation.params.num_steps)})
        )
    return failure_frame(generation) if event.is_final else b""


def _progress(generation: Generation, step: int) -> dict[str, int]:
    return {"step": step, "total_steps": generation.params.num_steps, "seed": generation.params.seed}


def _output(generation: Generation, finished: Finished) -> dict[str, object]:
    image = _image(finished)
    return {"image": image, "images": [image], "seed": generation.params.seed, "timings": finished.timings}


def _image(picture: Preview | Finished) -> dict[str, str | int]:
    encoded = base64.b64encode(picture.data).decode("ascii")
    return {
        "url": f"data:{picture.content_type};base64,{encoded}",
        "content_type": picture.content_type,
        "width": picture.width,
        "height": picture.height,
    }


ERRORS = (400, 413, 415, 422, 503)

ROUTES = [
    Route(
        "POST",
        "/stream",
        stream,
        "Paint a picture, and stream it while it forms (fal)",
        [Answer("Previews, and the finished picture as the last event", content_type=EVENT_STREAM)],
        ERRORS,
        body=GenerateBody,
    ),
    Route(
        "POST",
        "/",
        run,
        "Paint a picture (fal)",
        [Answer("The finished picture", body=FalOutput)],
        (*ERRORS, 410, 500),
        body=GenerateBody,
    ),
]
