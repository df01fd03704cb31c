"""fal's wire format: `POST /stream` and `POST /`, also below the names of an owner and an app."""

import msgspec
from aiohttp import web
from pydantic import BaseModel

from scheduler.messages import Finished, Preview
from service import access
from service.api.admission import counted, read_params, request_id_headers
from service.api.encodings import json_data_url_of
from service.api.failures import failure_frame, wait_for_pictures
from service.api.notices import notices
from service.api.streaming import stream_to_its_end
from service.generation import Event, Generation
from service.keys import METRICS
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
    """The finished pictures; `image` is the first of `images`, `seed` its seed. Timings in seconds.

    `prompt_truncated` is there only where the model read no more than the beginning of a prompt, or of a negative one.
    """

    image: FalImage
    images: list[FalImage]
    seed: int
    timings: dict[str, float]
    prompt_truncated: bool = False


async def stream(request: web.Request) -> web.StreamResponse:
    with counted(request.app[METRICS], "stream"):
        params = await read_params(request)
        access.check_streams(request)
        generation = access.admit(request, params, grace=0)
    return await stream_to_its_end(request, generation, encode_event)


async def run(request: web.Request) -> web.StreamResponse:
    with counted(request.app[METRICS], "run"):
        params = [msgspec.structs.replace(each, preview_every=0) for each in await read_params(request)]
        generation = access.admit(request, params, grace=0)
    await wait_for_pictures(request, generation)
    return web.Response(
        body=ascii_json(output_of(generation)),
        content_type="application/json",
        headers=request_id_headers(generation.id),
    )


def encode_event(event: Event) -> bytes:
    generation = event.generation
    if event.preview is not None:
        progress = _progress(generation, event.preview.step, event.image_index)
        return sse_frame(ascii_json({"image": _image(event.preview), **progress}))
    if event.name == "succeeded":
        progress = _progress(generation, generation.params.num_steps, image_index=0)
        return sse_frame(ascii_json({**_images(generation), **progress}))
    return failure_frame(generation) if event.is_final else b""


def _progress(generation: Generation, step: int, image_index: int) -> dict[str, int]:
    progress = {"step": step, "total_steps": generation.params.num_steps, "seed": generation.params.seed}
    return progress | ({"image_index": image_index} if len(generation.images) > 1 else {})


def output_of(generation: Generation) -> dict[str, object]:
    return {**_images(generation), "seed": generation.params.seed, "timings": generation.timings}


def _images(generation: Generation) -> dict[str, object]:
    images = [_image(picture) for picture in generation.pictures]
    return {"image": images[0], "images": images, **notices(generation)}


def _image(picture: Preview | Finished) -> dict[str, object]:
    return {
        "url": json_data_url_of(picture),
        "content_type": picture.content_type,
        "width": picture.width,
        "height": picture.height,
    }


APP = "/{owner}/{alias}"
"""There is one model, so any names will do."""

ERRORS = (400, 413, 415, 422, 429, 503)

ROUTES = [
    Route(
        "POST",
        path + "/stream",
        stream,
        "Paint a picture, and stream it while it forms (fal)",
        [Answer("Previews, and the finished picture as the last event", content_type=EVENT_STREAM)],
        ERRORS,
        body=GenerateBody,
    )
    for path in ("", APP)
] + [
    Route(
        "POST",
        path,
        run,
        "Paint a picture (fal)",
        [Answer("The finished picture", body=FalOutput)],
        (*ERRORS, 410, 500, 504),
        body=GenerateBody,
    )
    for path in ("/", APP)
]
