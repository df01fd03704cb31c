"""A request: what was asked (frozen), and how far it has come (written by the scheduler alone)."""

import enum
import time
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import msgspec

PreviewFormat = Literal["jpeg", "webp"]
ImageFormat = Literal["jpeg", "png", "webp"]

DEFAULT_NEGATIVE_PROMPT = "blurry, low quality"


class GenerateParams(msgspec.Struct, frozen=True, kw_only=True):
    """One picture to paint. Built by the front end, which has checked every range.

    `negative_prompt` None means no negative prompt (a zero embedding), "" means the empty text.
    `preview_every` 0 means no previews; n means after step 1, n + 1, 2n + 1, ... but not after the last.
    `preview_size` is the longest side in pixels; a preview is never enlarged.
    """

    prompt: str
    negative_prompt: str | None = DEFAULT_NEGATIVE_PROMPT
    width: int
    height: int
    num_steps: int = 20
    guidance_scale: float = 5.0
    seed: int = 0
    preview_every: int = 5
    preview_size: int = 512
    preview_format: PreviewFormat = "jpeg"
    preview_quality: int = 70
    image_format: ImageFormat = "jpeg"
    image_quality: int = 95

    @property
    def num_rows(self) -> int:
        """UNet rows a step takes: guidance is on only above 1, as in diffusers' pipeline."""
        return 2 if self.guidance_scale > 1 else 1

    def preview_due(self, step_index: int) -> bool:
        """Whether a preview follows the step with this index, 0..num_steps-1."""
        is_last = step_index == self.num_steps - 1
        return self.preview_every > 0 and step_index % self.preview_every == 0 and not is_last


class BatchKey(NamedTuple):
    """Requests with equal keys can share one UNet call in step mode: what makes rows stackable, and no more."""

    height: int
    width: int


class CallKey(NamedTuple):
    """Requests with equal keys can share one pipeline call in call mode."""

    height: int
    width: int
    num_steps: int
    guidance_scale: float
    has_negative_prompt: bool


def batch_key(params: GenerateParams) -> BatchKey:
    return BatchKey(params.height, params.width)


def call_key(params: GenerateParams) -> CallKey:
    has_negative_prompt = params.negative_prompt is not None
    return CallKey(params.height, params.width, params.num_steps, params.guidance_scale, has_negative_prompt)


class Status(enum.Enum):
    WAITING = "waiting"
    RUNNING = "running"
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
    steps_done: int = 0
    started_at: float | None = None

    @property
    def is_live(self) -> bool:
        return self.status in (Status.WAITING, Status.RUNNING)
