"""What to tell about a generation that gave no picture."""

from aiohttp import web

from service.api.admission import request_id_headers
from service.errors import ApiError
from service.generation import Generation
from service.keys import GENERATIONS
from service.sse import ascii_json, sse_frame

STATUSES = {"worker_lost": 503, "shutdown": 503, "cancelled": 410, "deadline": 504}
"""By the code of the failure; any other is a 500. Not 409, which fal's clients answer by asking again."""

RETRY_SECONDS = "2"


async def wait_for_pictures(request: web.Request, generation: Generation) -> None:
    """Returns once it has succeeded. Raises `ApiError` if it ends otherwise."""
    with request.app[GENERATIONS].watch([generation]) as mailbox:
        async for _ in mailbox:
            pass
    if generation.status != "succeeded":
        raise failure_of(generation)


def failure_of(generation: Generation) -> ApiError:
    code, message = _reason(generation)
    status = STATUSES.get(code, 500)
    headers = request_id_headers(generation.id)
    if status == 503:
        headers["Retry-After"] = RETRY_SECONDS
    return ApiError.plain(status, code, message, headers)


def failure_frame(generation: Generation, event_id: str | None = None) -> bytes:
    """The last event of a stream that is then broken off."""
    failure = failure_of(generation)
    data = {"error": failure.body.error.model_dump(), "detail": str(failure)}
    return sse_frame(ascii_json(data), event_id=event_id)


def _reason(generation: Generation) -> tuple[str, str]:
    """Code and message."""
    if generation.error is not None:
        return generation.error.code, generation.error.message
    if generation.cancel_cause == "shutdown":
        return "shutdown", "the service was shut down before the picture was finished"
    return "cancelled", "the generation was cancelled"
