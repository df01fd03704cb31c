"""OpenAI's wire format: `POST /v1/images/generations`, plain and streamed, and `GET /v1/models`."""

import contextlib
import functools
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

import msgspec
from aiohttp import web
from pydantic import AliasChoices, BaseModel, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from scheduler.messages import Finished, ModelInfo, Preview
from scheduler.request import GenerateParams, ImageFormat
from service.access import admit, check_streams
from service.api.addresses import origin
from service.api.admission import counted, read_body, request_id_headers
from service.api.encodings import base64_of, json_base64_of
from service.api.failures import failure_of, wait_for_pictures
from service.api.notices import notices
from service.api.streaming import stream_to_its_end
from service.errors import ApiError, not_found
from service.generation import Event, Generation
from service.keys import GENERATIONS, METRICS
from service.records import DESCRIBED
from service.routes import Answer, Route
from service.schemas import MAX_IMAGES, MAX_PROMPT, GenerateBody, Ignored
from service.sizes import check_side
from service.sse import ascii_json, sse_frame

SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")

Quality = Literal["low", "medium", "high"]
AskedQuality = Literal["auto", "low", "medium", "high", "standard", "hd"]

QUALITIES: dict[AskedQuality, Quality] = {
    "auto": "medium",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "standard": "medium",
    "hd": "high",
}
STEPS: dict[Quality, int] = {"low": 10, "medium": 20, "high": 30}
"""Denoising steps, where the request does not say how many."""

BACKGROUND = "opaque"
NO_USAGE: dict[str, object] = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}
"""Nothing is counted in tokens here, and clients insist on the field."""

STARTED_AT = int(time.time())


class ImagesBody(GenerateBody):
    """Asks for pictures as OpenAI's clients do. The other fields may come along, and unknown ones are ignored."""

    model_config = GenerateBody.model_config | {"extra": "ignore"}

    negative_prompt: str | None = Field(None, max_length=MAX_PROMPT)
    """What to keep out of the picture. `""`: the empty text."""
    n: int | None = Field(None, ge=1, le=MAX_IMAGES)
    """How many pictures."""
    size: str | None = None
    """`WIDTHxHEIGHT` in pixels; `auto`: the model's own."""
    quality: AskedQuality | None = None
    """How many steps, if `num_inference_steps` does not say: 10 for low, 20 for medium, 30 for high."""
    background: Literal["auto", "opaque"] | None = None
    output_format: ImageFormat | None = None
    output_compression: int | None = Field(None, ge=0, le=100)
    """The quality of a jpeg or webp picture."""
    response_format: Literal["b64_json", "url"] | None = None
    """A stream always has `b64_json`."""
    stream: bool | None = None
    partial_images: int | None = Field(None, ge=0, le=3)
    """How many previews of each picture a stream has."""
    image_format: ImageFormat = Field("png", validation_alias=AliasChoices("image_format", "format"))
    model: Ignored = None
    style: Ignored = None
    moderation: Ignored = None
    user: Ignored = None
    safety_identifier: Ignored = None

    @field_validator("size")
    @classmethod
    def _is_a_size(cls, size: str | None, info: ValidationInfo) -> str | None:
        if size is None or size == "auto":
            return size
        match = SIZE.fullmatch(size)
        if match is None:
            raise PydanticCustomError("size", 'must be "auto" or "WIDTHxHEIGHT", such as "512x512"')
        if any(info.data.get(name) is not None for name in ("width", "height", "image_size")):
            raise PydanticCustomError("conflict", "must not be given together with width, height or image_size")
        for side in match.groups():
            check_side(int(side), info.context)
        return size

    @model_validator(mode="after")
    def _in_our_words(self) -> Self:
        if self.n is not None:
            self.num_images = self.n
        if self.size is not None and (match := SIZE.fullmatch(self.size)):
            self.width, self.height = int(match[1]), int(match[2])
        if self.output_format is not None:
            self.image_format = self.output_format
        if self.output_compression is not None:
            self.image_quality = max(1, self.output_compression)
        if "num_inference_steps" not in self.model_fields_set:
            self.num_inference_steps = STEPS[self.told_quality]
        return self

    @property
    def told_quality(self) -> Quality:
        return QUALITIES[self.quality or "auto"]

    def to_params(self, model: ModelInfo) -> list[GenerateParams]:
        """With a preview for each partial image, and no others."""
        count = self.partial_images or 0 if self.stream else 0
        steps = partial_steps(self.num_inference_steps, count)
        return [msgspec.structs.replace(each, preview_steps=steps) for each in super().to_params(model)]


def partial_steps(num_steps: int, count: int) -> tuple[int, ...]:
    """The completed steps after which `count` partial images come, spread evenly; fewer where steps are few."""
    steps = (round(number * num_steps / (count + 1)) for number in range(1, count + 1))
    return tuple(dict.fromkeys(step for step in steps if 0 < step < num_steps))


class OpenAIImage(BaseModel):
    """A picture, in base64 or at a URL. Fields that say nothing are left out."""

    b64_json: str | None = None
    url: str | None = None
    seed: int


class OpenAIImages(BaseModel):
    """All pictures of a request. `created` in Unix seconds."""

    created: int
    data: list[OpenAIImage]
    background: str
    output_format: str
    quality: Quality
    size: str
    usage: dict[str, object] = NO_USAGE
    prompt_truncated: bool | None = None
    """There only where the model read no more than the beginning of a prompt, be it the negative one."""


class OpenAIModel(BaseModel):
    """A model. `created`: when the service was started, in Unix seconds."""

    model_config = DESCRIBED

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "latentcast"


class OpenAIModels(BaseModel):
    """All models: one."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


async def generate(request: web.Request) -> web.StreamResponse:
    with openai_errors():
        with counted(request.app[METRICS], "openai"):
            raw = await read_body(request)
            model = request.app[GENERATIONS].model()
            body = ImagesBody.parse(raw, model)
            host = origin(request)
            if body.stream:
                check_streams(request)
            generation = admit(request, body.to_params(model), grace=0)
        if body.stream:
            encode = functools.partial(encode_event, quality=body.told_quality)
            return await stream_to_its_end(request, generation, encode)
        await wait_for_pictures(request, generation)
        return _plain(generation, body, host)


@contextlib.contextmanager
def openai_errors() -> Iterator[None]:
    """Errors with OpenAI's statuses. Its clients repeat what got a 5xx, which helps only where there was no room."""
    try:
        yield
    except ApiError as error:
        status = 400 if error.status == 422 else error.status
        advice = {"x-should-retry": "false"} if status >= 500 and status != 503 else {}
        raise ApiError(status, error.error_type, error.problems, {**error.headers, **advice}) from error


def _plain(generation: Generation, body: ImagesBody, host: str) -> web.Response:
    images = [
        OpenAIImage(url=f"{host}/v1/generations/{generation.id}/images/{image.index}", seed=image.params.seed)
        if body.response_format == "url"
        else OpenAIImage(b64_json=base64_of(picture), seed=image.params.seed)
        for image, picture in zip(generation.images, generation.pictures, strict=True)
    ]
    answer = OpenAIImages(created=int(generation.created_at), data=images, **_told(generation, body.told_quality))
    headers = {"Cache-Control": "no-store", **request_id_headers(generation.id)}
    encoded = ascii_json(answer.model_dump(exclude_none=True))
    return web.Response(body=encoded, content_type="application/json", headers=headers)


def encode_event(event: Event, quality: Quality) -> bytes:
    generation = event.generation
    if event.preview is not None:
        steps = generation.params.preview_steps or ()
        number = {"partial_image_index": steps.index(event.preview.step)}
        return _image_frame("partial_image", generation, event.preview, event.image_index, quality, number)
    if event.name == "succeeded":
        usage = {"usage": NO_USAGE}
        return b"".join(
            _image_frame("completed", generation, picture, index, quality, usage)
            for index, picture in enumerate(generation.pictures)
        )
    return _failure_frame(generation) if event.is_final else b""


def _image_frame(
    kind: str,
    generation: Generation,
    picture: Preview | Finished,
    index: int,
    quality: Quality,
    more: Mapping[str, object],
) -> bytes:
    name = f"image_generation.{kind}"
    data: dict[str, object] = {
        "type": name,
        "b64_json": json_base64_of(picture),
        "created_at": int(generation.created_at),
    }
    data |= _told(generation, quality) | {
        "output_format": _format_of(picture),
        "seed": generation.images[index].params.seed,
    }
    if len(generation.images) > 1:
        data["image_index"] = index
    return sse_frame(ascii_json({**data, **more}), name=name)


def _failure_frame(generation: Generation) -> bytes:
    error = failure_of(generation).body.error.model_dump()
    return sse_frame(ascii_json({"type": "error", "error": error}), name="error")


def _told(generation: Generation, quality: Quality) -> dict[str, Any]:
    """What every answer says of its pictures."""
    params = generation.params
    return {
        "background": BACKGROUND,
        "output_format": params.image_format,
        "quality": quality,
        "size": f"{params.width}x{params.height}",
        **notices(generation),
    }


def _format_of(picture: Preview | Finished) -> str:
    """`image/jpeg` -> `jpeg`: a partial image need not have the format of the finished one."""
    return picture.content_type.removeprefix("image/")


async def models(request: web.Request) -> web.StreamResponse:
    return _json(OpenAIModels(data=_models(request)))


async def model(request: web.Request) -> web.StreamResponse:
    for each in _models(request):
        if each.id == request.match_info["model"]:
            return _json(each)
    raise not_found("model")


def _models(request: web.Request) -> list[OpenAIModel]:
    return [OpenAIModel(id=request.app[GENERATIONS].model().name, created=STARTED_AT)]


def _json(body: BaseModel) -> web.Response:
    return web.Response(body=ascii_json(body.model_dump()), content_type="application/json")


ROUTES = [
    Route(
        "POST",
        "/v1/images/generations",
        generate,
        "Paint pictures (OpenAI); with stream, image_generation.partial_image and image_generation.completed events",
        [Answer("The pictures", body=OpenAIImages)],
        (400, 410, 413, 415, 429, 500, 503, 504),
        body=ImagesBody,
    ),
    Route("GET", "/v1/models", models, "The models (OpenAI)", [Answer("One", body=OpenAIModels)], (503,)),
    Route("GET", "/v1/models/{model}", model, "A model (OpenAI)", [Answer("The model", body=OpenAIModel)], (404, 503)),
]
