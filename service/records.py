"""A generation as clients see it in JSON."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

DESCRIBED = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ImageRecord(BaseModel):
    """A finished picture; its bytes are at `url`, relative to the server. Sides in pixels."""

    model_config = DESCRIBED

    url: str
    content_type: str
    width: int
    height: int
    seed: int


class ErrorRecord(BaseModel):
    """Why a generation failed: `code` for programs, `message` for people."""

    model_config = DESCRIBED

    code: str
    message: str


class GenerationRecord(BaseModel):
    """What has become of a generation so far. Times in Unix seconds."""

    model_config = DESCRIBED

    id: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    step: int
    """Completed steps, as far as previews have told."""
    total_steps: int
    queue_position: int | None
    """How many queued pictures come before the first of this one's; null once it runs."""
    eta_seconds: float | None
    """Estimated time until it is finished, from a forecast of the queue; null at the end."""
    created_at: float
    started_at: float | None
    finished_at: float | None
    seed: int
    width: int
    height: int
    prompt_truncated: bool
    """The prompt was longer than the model reads."""
    images: list[ImageRecord]
    error: ErrorRecord | None
    timings: dict[str, float]
    """Seconds by phase, once succeeded."""


class CreatedRecord(GenerationRecord):
    """The answer to a new generation."""

    events_url: str
    """The stream of this generation's events."""
