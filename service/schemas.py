"""What clients may send: one model, parsed into frozen `GenerateParams` or refused with every problem named."""

import json
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from scheduler.messages import ModelInfo
from scheduler.request import (
    DEFAULT_NEGATIVE_PROMPT,
    MAX_PRIORITY,
    MIN_PRIORITY,
    GenerateParams,
    ImageFormat,
    PreviewFormat,
    SamplerName,
)
from service.errors import ApiError, Problem
from service.sizes import AnySize, HeightAndWidth, ImageSize, TopAndLeft, check_side, fit_named_size, why_too_large

MAX_PROMPT = 2000
MAX_SEED = 2**32 - 1
MAX_IMAGES = 4
MAX_PREVIEW = 2048  # pixels: the longest side of a picture, for models of 1024
MAX_DEADLINE_MS = 24 * 60 * 60 * 1000

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


Ignored = Annotated[Any, Field(description="Accepted because fal's callers send it, and ignored.")]


class GenerateBody(BaseModel):
    """Asks for one picture, or for a few that differ in their seed."""

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
    """How closely to follow the prompt. Guidance is on above 1; it doubles the work of a step with most models."""
    guidance_rescale: float = Field(0.0, ge=0, le=1)
    """How far guided noise is brought back to the contrast that it had without guidance, against washed-out colours."""
    sampler: SamplerName | None = None
    """How noise is taken away, one of those that the server offers. `null`: the model's own way."""
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    """The same seed and input give the same picture. `null`: random, and reported."""
    num_images: int = Field(1, ge=1, le=MAX_IMAGES)
    """How many pictures; the one with index i has the seed plus i, which starts again at 0 after the last seed."""
    preview_every: int = Field(5, ge=0, le=50)
    """A preview after step 1 and after every so many further steps, never after the last; 0: no previews."""
    preview_interval_ms: int = Field(0, ge=0, le=60_000)
    """Least time between two previews of a picture; a preview that would come sooner is left out."""
    preview_size: int = Field(512, ge=64, le=MAX_PREVIEW)
    """Longest side of a preview in pixels; a preview is never enlarged."""
    preview_quality: int = Field(70, ge=1, le=100)
    preview_format: PreviewFormat = "jpeg"
    image_format: ImageFormat = Field("jpeg", validation_alias=AliasChoices("image_format", "format"))
    """Also accepted as `format`."""
    image_quality: int = Field(95, ge=1, le=100)
    original_size: HeightAndWidth | None = None
    """`[height, width]`, or an object with both: what the model takes the picture to be cut from. `null`: its own."""
    target_size: HeightAndWidth | None = None
    """`[height, width]`, or an object with both: the size that the model takes itself to paint. `null`: its own."""
    crops_coords_top_left: TopAndLeft = (0, 0)
    """`[top, left]`: where the model takes the picture to be cut out of the original. `[0, 0]` centres subjects."""
    priority: int = Field(0, ge=MIN_PRIORITY, le=MAX_PRIORITY)
    """A request with a higher one overtakes some that came before it."""
    deadline_ms: int | None = Field(None, ge=1, le=MAX_DEADLINE_MS)
    """The generation fails if it takes longer; the server may set an earlier end. `null`: the server's."""
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

    @field_validator("sampler")
    @classmethod
    def _is_served(cls, sampler: SamplerName | None, info: ValidationInfo) -> SamplerName | None:
        model: ModelInfo | None = info.context
        if model is not None and sampler is not None and sampler not in model.samplers:
            raise PydanticCustomError("not_served", "must be one of {served}", {"served": ", ".join(model.samplers)})
        return sampler

    @classmethod
    def parse(cls, raw: bytes, model: ModelInfo) -> Self:
        """Raises `ApiError`: 400 where the body is not JSON, 422 where a field is wrong."""
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, numbers of 5,000 digits, too deep
            problem = Problem(loc=["body"], msg="must be valid JSON", type="json_invalid")
            raise ApiError(400, "validation", [problem]) from error
        return cls.of(data, model)

    @classmethod
    def of(cls, data: object, model: ModelInfo) -> Self:
        """From what JSON or MessagePack held. Raises `ApiError` 422."""
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

    def to_params(self, model: ModelInfo) -> list[GenerateParams]:
        """One for each image. Raises `ApiError` 422 where it can never fit into the memory of the model's device."""
        first = secrets.randbelow(MAX_SEED + 1) if self.seed is None else self.seed
        params = [self._params(model, (first + index) % (MAX_SEED + 1)) for index in range(self.num_images)]
        if reason := why_too_large(params[0], model):
            field = "width" if self.image_size is None else "image_size"
            raise ApiError(422, "validation", [Problem(loc=["body", field], msg=reason, type="too_large_for_memory")])
        return params

    def _params(self, model: ModelInfo, seed: int) -> GenerateParams:
        width, height = self._size(model)
        return GenerateParams(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            width=width,
            height=height,
            num_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            guidance_rescale=self.guidance_rescale,
            guidance_rows=model.guidance_rows,
            sampler=self.sampler,
            seed=seed,
            original_size=self.original_size,
            target_size=self.target_size,
            crop=self.crops_coords_top_left,
            preview_every=self.preview_every,
            preview_interval=self.preview_interval_ms / 1000,
            preview_size=self.preview_size,
            preview_format=self.preview_format,
            preview_quality=self.preview_quality,
            image_format=self.image_format,
            image_quality=self.image_quality,
            priority=self.priority,
            deadline=None if self.deadline_ms is None else self.deadline_ms / 1000,
        )

    def _size(self, model: ModelInfo) -> tuple[int, int]:
        match self.image_size:
            case ImageSize(width=width, height=height):
                return width, height
            case str(name):
                return fit_named_size(name, model)
            case None:
                return self.width or model.default_width, self.height or model.default_height


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
