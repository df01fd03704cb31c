"""What a worker says of its model and its steps, for tests that need no model."""

from typing import Any

from scheduler.messages import ModelInfo, StepStats, StepTime
from scheduler.request import SAMPLERS


def make_info(**changes: Any) -> ModelInfo:
    """A model of 256x256 whose steps take 10 ms a row of its own size, whatever the batch."""
    defaults: dict[str, Any] = {
        "name": "postcard",
        "default_width": 256,
        "default_height": 256,
        "size_multiple": 8,
        "min_size": 64,
        "max_size": 512,
        "device": "cpu",
        "dtype": "float32",
        "batching": "step",
        "max_rows": 32,
        "max_step_seconds": 1.0,
        "step_times": (StepTime(256 * 256, 2, 0.02),),
        "sampler": "euler",
        "samplers": SAMPLERS,
    }
    return ModelInfo(**(defaults | changes))


def make_stats(**changes: Any) -> StepStats:
    """A step of a request with guidance, of the model's own size, with nothing to do after it."""
    defaults: dict[str, Any] = {
        "step_counter": 1,
        "batch_size": 1,
        "num_rows": 2,
        "padded_rows": 0,
        "max_rows": 32,
        "useful_pixels": 2 * 256 * 256,
        "padded_pixels": 0,
        "duration": 0.02,
        "stages": {},
        "waiting": 0,
        "running": 0,
        "previews": 0,
        "previews_coalesced": 0,
        "memory_used": 0,
        "memory_total": 0,
    }
    return StepStats(**(defaults | changes))
