"""From an HTTP request to an admitted generation, the same way for every route that starts one."""

import contextlib
from collections.abc import Iterator

from aiohttp import web

from scheduler.request import GenerateParams
from service.errors import ApiError
from service.keys import GENERATIONS
from service.metrics import Metrics, RejectReason
from service.schemas import GenerateBody

MAX_BODY_BYTES = 64 * 1024

REJECT_REASONS: dict[str, RejectReason] = {
    "queue_full": "queue_full",
    "queue_too_long": "queue_too_long",
    "draining": "draining",
    "not_ready": "not_ready",
    "too_large": "too_large",
    "rate_limit": "rate_limit",
    "too_many_generations": "too_many_generations",
    "too_many_streams": "too_many_streams",
}
"""By the error's type; any other request was invalid."""


@contextlib.contextmanager
def counted(metrics: Metrics, route: str) -> Iterator[None]:
    """Counts a request for a picture, and why it was turned away if it was."""
    metrics.requests_received.labels(route).inc()
    try:
        yield
    except ApiError as error:
        metrics.reject(REJECT_REASONS.get(error.error_type, "invalid"))
        raise


async def read_params(request: web.Request) -> list[GenerateParams]:
    """One for each image. Raises `ApiError` where the body is too large, of the wrong type, or wrong."""
    raw = await read_body(request)
    model = request.app[GENERATIONS].model()
    return GenerateBody.parse(raw, model).to_params(model)


async def read_body(request: web.Request) -> bytes:
    """Raises `ApiError` where it is too large or of the wrong type."""
    if request.content_type != "application/json":
        raise ApiError.plain(415, "unsupported_media_type", "send the body as Content-Type: application/json")
    if "Content-Encoding" in request.headers:
        raise ApiError.plain(415, "unsupported_media_type", "send the body without Content-Encoding")
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        message = f"the body must be at most {MAX_BODY_BYTES} bytes long"
        raise ApiError.plain(413, "too_large", message) from error


def request_id_headers(generation_id: str) -> dict[str, str]:
    return {"X-Fal-Request-Id": generation_id, "x-request-id": generation_id}
