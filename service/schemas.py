"""What clients may send: one model, parsed into frozen `GenerateParams` or refused with every problem named."""

import json
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError, PydanticKnownError

from scheduler.messages import ModelInfo
from scheduler.request import DEFAULT_NEGATIVE_PROMPT, GenerateParams, ImageFormat, PreviewFormat
from service.errors import ApiError, Problem

MAX_PROMPT = 2000
MAX_SEED = 2**32 - 1

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

MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "model_type": "must be a JSON object",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode text",
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters long",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
}
"""By pydantic's type of error; any other keeps pydantic's own words."""

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


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
    model_config = STRICT

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

Ignored = Annotated[Any, Field(description="Accepted because fal's callers send it, and ignored.")]


class GenerateBody(BaseModel):
    """Asks for one picture."""

    model_config = STRICT

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT)
    """What to paint."""
    negative_prompt: str | None = Field(DEFAULT_NEGATIVE_PROMPT, max_length=MAX_PROMPT)
    """What to keep out of the picture. `null`: nothing; `""`: the empty text."""
    num_inference_steps: int = Field(20, ge=1, le=50)
    """Denoising steps."""
    width: int | None = None
    """Pixels; the model's own width if absent."""
    height: int | None = None
    """Pixels; the model's own height if absent."""
    image_size: AnySize | None = None
    """Instead of `width` and `height`: both, or a name. A named size is shrunk to what the model can paint."""
    guidance_scale: float = Field(5.0, ge=0, le=20)
    """How closely to follow the prompt. Guidance is on above 1, and then a step costs twice as much."""
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    """The same seed and input give the same picture. `null`: random, and reported."""
    num_images: int = 1
    """Only 1 for now."""
    preview_every: int = Field(5, ge=0, le=50)
    """A preview after step 1 and after every so many further steps, never after the last; 0: no previews."""
    preview_size: int = Field(512, ge=64, le=1024)
    """Longest side of a preview in pixels; a preview is never enlarged."""
    preview_quality: int = Field(70, ge=1, le=100)
    preview_format: PreviewFormat = "jpeg"
    image_format: ImageFormat = Field("jpeg", validation_alias=AliasChoices("image_format", "format"))
    """Also accepted as `format`."""
    image_quality: int = Field(95, ge=1, le=100)
    sync_mode: Ignored = None
    enable_safety_checker: Ignored = None
    safety_checker_version: Ignored = None
    expand_prompt: Ignored = None
    enable_prompt_expansion: Ignored = None

    @field_validator("width", "height")
    @classmethod
    def _can_be_painted(cls, pixels: int | None, info: ValidationInfo) -> int | None:
        return pixels if pixels is None else check_side(pixels, info.context)

    @field_validator("image_size")
    @classmethod
    def _is_the_only_size(cls, size: AnySize | None, info: ValidationInfo) -> AnySize | None:
        if size is not None and (info.data.get("width") is not None or info.data.get("height") is not None):
            raise PydanticCustomError("conflict", "must not be given together with width or height")
        return size

    @field_validator("num_images")
    @classmethod
    def _is_one(cls, count: int) -> int:
        if count != 1:
            raise PydanticCustomError("only_one_image", "must be 1: this version paints one image for each request")
        return count

    @classmethod
    def parse(cls, raw: bytes, model: ModelInfo) -> Self:
        """Raises `ApiError`: 400 where the body is not JSON, 422 where a field is wrong."""
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, numbers of 5,000 digits, too deep
            problem = Problem(loc=["body"], msg="must be valid JSON", type="json_invalid")
            raise ApiError(400, "validation", [problem]) from error
        try:
            return cls.model_validate(data, context=model)
        except ValidationError as error:
            raise ApiError(422, "validation", problems_of(error, "body")) from error

    @classmethod
    def parse_strings(cls, fields: Mapping[str, str], model: ModelInfo | None) -> Self:
        """Where every value is text. Without a model, any size will do. Raises `ApiError` 422."""
        try:
            return cls.model_validate_strings(dict(fields), context=model)
        except ValidationError as error:
            raise ApiError(422, "validation", problems_of(error, "query")) from error

    def to_params(self, model: ModelInfo) -> GenerateParams:
        width, height = self._size(model)
        return GenerateParams(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            width=width,
            height=height,
            num_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            seed=secrets.randbelow(MAX_SEED + 1) if self.seed is None else self.seed,
            preview_every=self.preview_every,
            preview_size=self.preview_size,
            preview_format=self.preview_format,
            preview_quality=self.preview_quality,
            image_format=self.image_format,
            image_quality=self.image_quality,
        )

    def _size(self, model: ModelInfo) -> tuple[int, int]:
        match self.image_size:
            case ImageSize(width=width, height=height):
                return width, height
            case str(name):
                return fit_named_size(name, model)
            case None:
                return self.width or model.default_width, self.height or model.default_height


def fit_named_size(name: NamedSize, model: ModelInfo) -> tuple[int, int]:
    """Width and height in pixels: the named size, shrunk where the model cannot paint it, with its shape kept."""
    width, height = NAMED_SIZES[name]
    scale = min(1.0, model.max_size / max(width, height))

    def side(pixels: int) -> int:
        rounded = round(pixels * scale / model.size_multiple) * model.size_multiple
        return max(model.min_size, rounded)

    return side(width), side(height)


def problems_of(error: ValidationError, source: str) -> list[Problem]:
    """Every problem of one body, in words that say what to do. `source` is where the fields came from."""
    return [_problem_of(details, source) for details in error.errors(include_url=False, include_input=False)]


def _problem_of(details: ErrorDetails, source: str) -> Problem:
    loc = details["loc"]
    if loc[:1] == ("image_size",):
        loc = (loc[0], *loc[2:])  # without the tag of the union's member
    template = MESSAGES.get(details["type"])
    context = {name: _plain(value) for name, value in details.get("ctx", {}).items()}
    message = template.format(**context) if template else details["msg"]
    return Problem(loc=[source, *loc], msg=message, type=details["type"])


def _plain(value: object) -> object:
    """20.0 -> 20, as people write it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
