"""Why a request ends without a picture, in words."""

from scheduler.engine import RequestOutput, describe
from scheduler.request import Request
from scheduler.sdxl.memory import is_out_of_memory


def failure(request: Request, steps_done: int, error: Exception) -> RequestOutput:
    """What to tell of a request that raised, by itself."""
    if not is_out_of_memory(error):
        return RequestOutput(request, steps_done, error=describe(error))
    params = request.params
    reason = f"the server's memory does not hold a picture of {params.width}x{params.height}: ask for a smaller one"
    return RequestOutput(request, steps_done, error=reason, code="out_of_memory")


def invalid_numbers(request: Request, steps_done: int, dtype: str) -> RequestOutput:
    """What to tell of a request whose latents are not numbers."""
    reason = f"the model gave invalid numbers in {dtype}; the server may have to run with --dtype float32"
    return RequestOutput(request, steps_done, error=reason)
