"""What a worker says of its model, for tests that need no model."""

from typing import Any

from scheduler.messages import ModelInfo, StepTime
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
