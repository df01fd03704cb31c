"""What a request costs, so that queues and groups can be compared."""

from scheduler.messages import ModelInfo
from scheduler.request import GenerateParams


def step_pixels(params: GenerateParams) -> int:
    """The work of one denoising step: UNet rows x pixels."""
    return params.num_rows * params.width * params.height


def request_cost(params: GenerateParams, info: ModelInfo) -> float:
    """The work of a whole request, in row-steps at the model's own size: rows x steps x pixels / default pixels."""
    return step_pixels(params) * params.num_steps / (info.default_width * info.default_height)
