"""Sizes as clients write them: by name, in pixels, or as a pair of numbers."""

import math
import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationInfo, field_validator
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError

from scheduler.messages import ModelInfo
from scheduler.request import GenerateParams
from scheduler.room import Room

MAX_CONDITION = 16384  # pixels that a size or a corner told to the model may have

NamedSize = Literal["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
NAMED_SIZES: dict[NamedSize, tuple[int, int]] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
"""Width and height in pixels, as fal has them."""

NUMBER = re.compile(r"-?[0-9]{1,15}")


def check_side(pixels: int, model: ModelInfo | None) -> int:
    """Refuses a width or height, in pixels, that the model cannot paint. Without a model any will do."""
    if model is None:
        return pixels
    if pixels < model.min_size:
        raise PydanticKnownError("greater_than_equal", {"ge": model.min_size})
    if pixels > model.max_size:
        raise PydanticKnownError("less_than_equal", {"le": model.max_size})
    if pixels % model.size_multiple:
        raise PydanticKnownError("multiple_of", {"multiple_of": model.size_multiple})
    return pixels


class ImageSize(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    width: int
    height: int

    @field_validator("width", "height")
    @classmethod
    def _can_be_painted(cls, pixels: int, info: ValidationInfo) -> int:
        return check_side(pixels, info.context)


def _kind_of_size(value: object) -> str:
    return "name" if isinstance(value, str) else "pixels"


AnySize = Annotated[
    Annotated[NamedSize, Tag("name")] | Annotated[ImageSize, Tag("pixels")], Discriminator(_kind_of_size)
]


def why_too_large(params: GenerateParams, model: ModelInfo) -> str | None:
    """Why a picture can never be painted, not even alone; None where it can, or where memory is not known."""
    if model.memory is None:
        return None
    most = Room(model.memory).largest_picture(params.num_rows)
    if params.pixels <= most:
        return None
    side = math.isqrt(most) // model.size_multiple * model.size_multiple
    guided = " with guidance" if params.num_rows > 1 else ""
    return (
        f"{params.width}x{params.height} does not fit into the server's memory, "
        f"which holds{guided} at most {side}x{side}, or as many pixels in another shape"
    )


def fit_named_size(name: NamedSize, model: ModelInfo) -> tuple[int, int]:
    """Width and height in pixels: the named size, shrunk where the model cannot paint it, with its shape kept."""
    width, height = NAMED_SIZES[name]
    scale = min(1.0, model.max_size / max(width, height))

    def side(pixels: int) -> int:
        rounded = round(pixels * scale / model.size_multiple) * model.size_multiple
        return max(model.min_size, rounded)

    return side(width), side(height)


def _height_and_width(value: object) -> object:
    """`[768, 1024]`, `"768,1024"` or `{"width": 1024, "height": 768}` -> `(768, 1024)`."""
    if isinstance(value, dict) and value.keys() == {"width", "height"}:
        return value["height"], value["width"]
    return _pair(value, "must be [height, width], such as [768, 1024]")


def _top_and_left(value: object) -> object:
    """`[0, 64]` or `"0,64"` -> `(0, 64)`."""
    return _pair(value, "must be [top, left], such as [0, 64]")


def _pair(value: object, wanted: str) -> tuple[object, object]:
    """What is no number stays as it is, for its own message."""
    if isinstance(value, str):  # a query has nothing but text
        value = [int(part) if NUMBER.fullmatch(part) else part for part in value.split(",")]
    if not isinstance(value, list) or len(value) != 2:
        raise PydanticCustomError("pair", "{wanted}", {"wanted": wanted})
    return value[0], value[1]


def _pair_schema(minimum: int) -> dict[str, object]:
    number = {"type": "integer", "minimum": minimum, "maximum": MAX_CONDITION}
    return {"type": "array", "items": number, "minItems": 2, "maxItems": 2}


Side = Annotated[int, Field(ge=1, le=MAX_CONDITION)]
Offset = Annotated[int, Field(ge=0, le=MAX_CONDITION)]

HeightAndWidth = Annotated[tuple[Side, Side], BeforeValidator(_height_and_width), WithJsonSchema(_pair_schema(1))]
TopAndLeft = Annotated[tuple[Offset, Offset], BeforeValidator(_top_and_left), WithJsonSchema(_pair_schema(0))]
