"""For those who run the service: is it alive, does it take work, how is it doing."""

import asyncio
from typing import Literal

from aiohttp import web
from pydantic import BaseModel

from scheduler.request import SamplerName
from service.keys import API_KEYS, CLIENT, GENERATIONS, METRICS
from service.records import DESCRIBED
from service.routes import Answer, Route

Readiness = Literal["ready", "loading", "restarting", "draining"]


class ModelRecord(BaseModel):
    """The model that paints. Sides in pixels; each side of a picture is a multiple of `size_multiple`.

    `sampler` is the one it takes where a request names none; absent where that is none of `samplers`.
    """

    model_config = DESCRIBED

    name: str
    default_width: int
    default_height: int
    size_multiple: int
    min_size: int
    max_size: int
    device: str
    dtype: str
    batching: str
    sampler: SamplerName | None
    samplers: tuple[SamplerName, ...]


class HealthRecord(BaseModel):
    """`model` is there once it is loaded. `auth`: whether the service asks for an API key."""

    model_config = DESCRIBED

    status: Literal["alive"] | Readiness
    model: ModelRecord | None = None
    auth: bool | None = None


async def livez(request: web.Request) -> web.StreamResponse:  # noqa: ARG001 - the signature of a handler
    return _answer(HealthRecord(status="alive"), status=200)


async def readyz(request: web.Request) -> web.StreamResponse:
    client = request.app[CLIENT]
    record = HealthRecord(
        status=_readiness(request.app),
        model=ModelRecord.model_validate(client.info, from_attributes=True) if client.info else None,
        auth=request.app[API_KEYS] is not None,
    )
    return _answer(record, status=200 if record.status == "ready" else 503)


def _readiness(app: web.Application) -> Readiness:
    if app[GENERATIONS].is_draining:
        return "draining"
    if app[CLIENT].is_ready:
        return "ready"
    return "loading" if app[CLIENT].info is None else "restarting"


async def metrics(request: web.Request) -> web.StreamResponse:
    request.app[GENERATIONS].refresh_metrics()
    accept = request.headers.get("Accept", "")
    body, content_type = await asyncio.to_thread(request.app[METRICS].render, accept)
    return web.Response(body=body, headers={"Content-Type": content_type})


def _answer(record: HealthRecord, status: int) -> web.Response:
    text = record.model_dump_json(exclude_none=True)
    return web.Response(
        text=text, status=status, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


METRICS_ROUTES = [
    Route("GET", "/metrics", metrics, "Metrics for Prometheus", [Answer("Metrics", content_type="text/plain")]),
]

ROUTES = [
    Route("GET", "/livez", livez, "Is the process alive", [Answer("It is", body=HealthRecord)], is_public=True),
    Route(
        "GET",
        "/readyz",
        readyz,
        "Does it take work",
        [Answer("It does", body=HealthRecord), Answer("Not now", status=503, body=HealthRecord)],
        is_public=True,
    ),
    *METRICS_ROUTES,
]
