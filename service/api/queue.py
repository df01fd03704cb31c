"""fal's queue: submit a request, ask how it is doing, fetch what it gave, cancel it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from aiohttp import web
from pydantic import BaseModel

from scheduler.request import GenerateParams
from service.access import admit, find
from service.api.addresses import origin
from service.api.admission import counted, read_params, request_id_headers
from service.api.failures import failure_of
from service.api.fal import ERRORS, FalOutput, output_of
from service.api.streaming import stream_events
from service.errors import ApiError, not_found
from service.generation import Event, Generation, now
from service.keys import GENERATIONS, METRICS
from service.records import DESCRIBED
from service.routes import EVENT_STREAM, Answer, Route
from service.schemas import GenerateBody
from service.sse import ascii_json, sse_frame

PRIORITY_HEADER = "X-Fal-Queue-Priority"
LOW_PRIORITY = -5


class QueueLog(BaseModel):
    """A line for people."""

    message: str
    level: Literal["INFO"] = "INFO"
    source: Literal["USER"] = "USER"
    timestamp: str


class QueueStatus(BaseModel):
    """Where a request stands, and where to ask for more. `logs` are there where `?logs=1` asks for them."""

    model_config = DESCRIBED

    status: Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    request_id: str
    response_url: str
    status_url: str
    cancel_url: str


class InQueue(QueueStatus):
    """It has not started."""

    status: Literal["IN_QUEUE"] = "IN_QUEUE"
    queue_position: int
    """How many requests come before this one."""


class InProgress(QueueStatus):
    """It is being painted."""

    status: Literal["IN_PROGRESS"] = "IN_PROGRESS"
    logs: list[QueueLog] | None


class QueueMetrics(BaseModel):
    """Seconds."""

    inference_time: float


class Completed(QueueStatus):
    """It has ended, well or not."""

    status: Literal["COMPLETED"] = "COMPLETED"
    logs: list[QueueLog] | None
    metrics: QueueMetrics
    error: str | None = None
    """Why there is no picture."""
    error_type: str | None = None


class Cancellation(BaseModel):
    """It ends at the next step."""

    status: Literal["CANCELLATION_REQUESTED"] = "CANCELLATION_REQUESTED"


async def submit(request: web.Request) -> web.StreamResponse:
    with counted(request.app[METRICS], "queue"):
        _refuse_webhook(request)
        params = [_with_priority(each, request.headers) for each in await read_params(request)]
        host = origin(request)
        generation = admit(request, params, grace=None)
    position = request.app[GENERATIONS].record(generation).queue_position or 0
    return _json(generation, InQueue(**_urls(request, host, generation), queue_position=position))


async def status(request: web.Request) -> web.StreamResponse:
    generation = _find(request)
    told = _status(request, generation, with_logs=_wants_logs(request))
    return _json(generation, told, status=200 if generation.is_over else 202)


async def status_stream(request: web.Request) -> web.StreamResponse:
    """Ends well even where the request did not: `COMPLETED` says why, and the result has the error's status."""
    generation, with_logs = _find(request), _wants_logs(request)
    origin(request)  # refuse a bad one while there can be a status

    def encode(event: Event) -> bytes:
        if event.preview is not None and not with_logs:
            return b""
        told = _status(request, event.generation, with_logs=with_logs)
        return sse_frame(ascii_json(told.model_dump()))

    with request.app[GENERATIONS].watch([generation]) as mailbox:
        return await stream_events(request, mailbox, encode, request_id_headers(generation.id))


async def result(request: web.Request) -> web.StreamResponse:
    generation = _find(request)
    if not generation.is_over:
        raise ApiError.plain(400, "in_progress", "the request is still in progress", request_id_headers(generation.id))
    if generation.status != "succeeded":
        raise _lasting(failure_of(generation), generation)
    return web.Response(
        body=ascii_json(output_of(generation)),
        content_type="application/json",
        headers=request_id_headers(generation.id),
    )


async def cancel(request: web.Request) -> web.StreamResponse:
    generation = _find(request)
    if generation.is_over:
        message = "the request is over already"
        raise ApiError.plain(400, "already_completed", message, request_id_headers(generation.id))
    request.app[GENERATIONS].cancel(generation, "api")
    return _json(generation, Cancellation(), status=202)


def _refuse_webhook(request: web.Request) -> None:
    """Rather than leave someone waiting for a call that never comes. Nothing that a client names is ever fetched."""
    if "fal_webhook" in request.query:
        raise ApiError.plain(400, "no_webhooks", "webhooks are not supported; poll or stream the status instead")


def _with_priority(params: GenerateParams, headers: Mapping[str, str]) -> GenerateParams:
    is_low = headers.get(PRIORITY_HEADER) == "low"
    return msgspec.structs.replace(params, priority=min(params.priority, LOW_PRIORITY)) if is_low else params


def _lasting(failure: ApiError, generation: Generation) -> ApiError:
    """With a status that asks nobody to fetch this result again, as 503 and 504 would."""
    status = 500 if failure.status > 500 else failure.status
    return ApiError(status, failure.error_type, failure.problems, request_id_headers(generation.id))


def _find(request: web.Request) -> Generation:
    generation = find(request, request.match_info["id"])
    if generation is None:
        raise not_found("request")
    return generation


def _wants_logs(request: web.Request) -> bool:
    return request.query.get("logs", "").lower() in ("1", "true")


def _status(request: web.Request, generation: Generation, *, with_logs: bool) -> QueueStatus:
    urls = _urls(request, origin(request), generation)
    logs = [_progress(generation)] if with_logs else None
    if generation.is_over:
        error = None if generation.status == "succeeded" else failure_of(generation)
        return Completed(
            **urls,
            logs=logs,
            metrics=QueueMetrics(inference_time=_inference_seconds(generation)),
            error=str(error) if error else None,
            error_type=error.error_type if error else None,
        )
    if generation.status == "running":
        return InProgress(**urls, logs=logs)
    position = request.app[GENERATIONS].record(generation).queue_position or 0
    return InQueue(**urls, queue_position=position)


def _urls(request: web.Request, host: str, generation: Generation) -> dict[str, Any]:
    owner, alias = request.match_info["owner"], request.match_info["alias"]
    url = f"{host}/queue/{owner}/{alias}/requests/{generation.id}"
    return {
        "request_id": generation.id,
        "response_url": url,
        "status_url": f"{url}/status",
        "cancel_url": f"{url}/cancel",
    }


def _progress(generation: Generation) -> QueueLog:
    message = f"step {generation.step} of {generation.params.num_steps}"
    return QueueLog(message=message, timestamp=datetime.fromtimestamp(now(), UTC).isoformat(timespec="milliseconds"))


def _inference_seconds(generation: Generation) -> float:
    started_at, finished_at = generation.started_at, generation.finished_at
    return finished_at - started_at if started_at is not None and finished_at is not None else 0.0


def _json(generation: Generation, body: BaseModel, status: int = 200) -> web.Response:
    headers = {"Cache-Control": "no-store", **request_id_headers(generation.id)}
    return web.Response(
        body=ascii_json(body.model_dump()), status=status, content_type="application/json", headers=headers
    )


APP = "/queue/{owner}/{alias}"
ONE = APP + "/requests/{id}"
LOGS = {"logs": "1: with a line that tells how far it is"}

ROUTES = [
    Route(
        "POST",
        APP,
        submit,
        "Queue a request (fal)",
        [Answer("Queued", body=InQueue)],
        ERRORS,
        body=GenerateBody,
    ),
    Route("GET", ONE, result, "What it gave (fal)", [Answer("The pictures", body=FalOutput)], (400, 404, 410, 500)),
    Route(
        "GET",
        ONE + "/status",
        status,
        "How it is doing (fal)",
        [Answer("It has ended", body=Completed), Answer("It has not", status=202, body=QueueStatus)],
        (404,),
        query=LOGS,
    ),
    Route(
        "GET",
        ONE + "/status/stream",
        status_stream,
        "How it is doing, until it has ended (fal)",
        [Answer("A status for each change", content_type=EVENT_STREAM)],
        (404, 429),
        query=LOGS,
    ),
    Route(
        "PUT",
        ONE + "/cancel",
        cancel,
        "Cancel it (fal)",
        [Answer("It ends at the next step", status=202, body=Cancellation)],
        (400, 404),
    ),
]
