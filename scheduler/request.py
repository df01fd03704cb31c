"""A request: what was asked (frozen), and how far it has come (written by the scheduler alone)."""

import enum
import time
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import msgspec

PreviewFormat = Literal["jpeg", "webp"]
ImageFormat = Literal["jpeg", "png", "webp"]
SamplerName = Literal["euler", "euler_a", "dpmpp_2m", "ddim", "unipc", "lcm"]
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)

MIN_PRIORITY, MAX_PRIORITY = -10, 10
DEFAULT_NEGATIVE_PROMPT = "blurry, low quality"


class GenerateParams(msgspec.Struct, frozen=True, kw_only=True):
    """One picture to paint. Built by the front end, which has checked every range.

    `negative_prompt` None means no negative prompt (a zero embedding), "" means the empty text.
    `sampler` None means the model's own. `guidance_rows`: the UNet rows that guidance takes, 1 where the model is told
    the guidance scale instead (guidance-distilled models).
    `original_size` and `target_size` are height and width, None for the picture's own; `crop` is top and left. The
    model reads them as conditions, as the pipeline does (SDXL, https://arxiv.org/abs/2307.01952, section 2.2).
    `preview_every` 0 means no previews; n means after step 1, n + 1, 2n + 1, ... but not after the last. At least
    `preview_interval` seconds lie between two previews. `preview_steps`, if not None, overrides both: previews come
    after these completed steps, and none of them gives way to a newer one. `preview_size` is the longest side in
    pixels; a preview is never enlarged.
    `priority`: a request of a higher one overtakes some that came earlier (`StepScheduler`).
    `deadline`: seconds from the request's arrival at the worker; None for as long as it takes.
    """

    prompt: str
    negative_prompt: str | None = DEFAULT_NEGATIVE_PROMPT
    width: int
    height: int
    num_steps: int = 20
    guidance_scale: float = 5.0
    guidance_rescale: float = 0.0
    guidance_rows: Literal[1, 2] = 2
    sampler: SamplerName | None = None
    seed: int = 0
    original_size: tuple[int, int] | None = None
    target_size: tuple[int, int] | None = None
    crop: tuple[int, int] = (0, 0)
    preview_every: int = 5
    preview_interval: float = 0.0
    preview_steps: tuple[int, ...] | None = None
    preview_size: int = 512
    preview_format: PreviewFormat = "jpeg"
    preview_quality: int = 70
    image_format: ImageFormat = "jpeg"
    image_quality: int = 95
    priority: int = 0
    deadline: float | None = None

    @property
    def num_rows(self) -> int:
        """UNet rows a step takes: guidance is on only above 1, as in diffusers' pipeline."""
        return self.guidance_rows if self.guidance_scale > 1 else 1

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def keeps_previews(self) -> bool:
        """Whether each preview must arrive, however slow its reader."""
        return self.preview_steps is not None

    def preview_due(self, step_index: int) -> bool:
        """Whether a preview follows the step with this index, 0..num_steps-1."""
        is_last = step_index == self.num_steps - 1
        if self.preview_steps is not None:
            return step_index + 1 in self.preview_steps and not is_last
        return self.preview_every > 0 and step_index % self.preview_every == 0 and not is_last


AGEING = 16
"""How many requests that came earlier one level of priority overtakes."""


def queue_rank(number: int, params: GenerateParams) -> tuple[int, int]:
    """Of a worker's requests the lowest goes first; `number` counts their arrivals there."""
    return number - AGEING * params.priority, number


class BatchKey(NamedTuple):
    """Requests with equal keys can share one UNet call in step mode: what makes rows stackable, and no more."""

    height: int
    width: int


class CallKey(NamedTuple):
    """Requests with equal keys can share one pipeline call in call mode."""

    height: int
    width: int
    num_steps: int
    sampler: SamplerName | None
    guidance_scale: float
    guidance_rescale: float
    original_size: tuple[int, int] | None
    target_size: tuple[int, int] | None
    crop: tuple[int, int]
    has_negative_prompt: bool


def batch_key(params: GenerateParams) -> BatchKey:
    return BatchKey(params.height, params.width)


def call_key(params: GenerateParams) -> CallKey:
    return CallKey(
        height=params.height,
        width=params.width,
        num_steps=params.num_steps,
        sampler=params.sampler,
        guidance_scale=params.guidance_scale,
        guidance_rescale=params.guidance_rescale,
        original_size=params.original_size,
        target_size=params.target_size,
        crop=params.crop,
        has_negative_prompt=params.negative_prompt is not None,
    )


class Status(enum.Enum):
    WAITING = "waiting"
    RUNNING = "running"
    DECODING = "decoding"  # denoised; its picture is still being made, beside the steps of others
    FINISHED = "finished"
    ABORTED = "aborted"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Request:
    """One request inside a worker."""

    # Set on arrival.
    id: str
    params: GenerateParams
    arrived_at: float = field(default_factory=time.monotonic)

    # Written by the scheduler alone.
    status: Status = Status.WAITING
    rank: tuple[int, int] = (0, 0)  # among those that wait, the lowest goes first
    steps_done: int = 0
    steps_shown: int = 0  # by the newest preview
    started_at: float | None = None
    is_suspect: bool = False  # it was in a batch that the engine could not run

    # Written by the engine alone.
    previewed_at: float | None = None

    @property
    def is_live(self) -> bool:
        return self.status in (Status.WAITING, Status.RUNNING, Status.DECODING)

    @property
    def deadline_at(self) -> float | None:
        """In monotonic seconds."""
        return None if self.params.deadline is None else self.arrived_at + self.params.deadline
