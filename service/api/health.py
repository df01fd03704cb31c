"""For those who run the service: is it alive, does it take work, how is it doing."""

import asyncio
from typing import Literal

from aiohttp import web
from pydantic import BaseModel

from service.keys import CLIENT, GENERATIONS, METRICS
from service.records import DESCRIBED
from service.routes import Answer, Route


class ModelRecord(BaseModel):
    """The model that paints. Sides in pixels; each side of a picture is a multiple of `size_multiple`."""

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


class HealthRecord(BaseModel):
    """`model` is there once it is loaded."""

    model_config = DESCRIBED

    status: Literal["alive", "ready", "loading", "restarting", "draining"]
    model: ModelRecord | None = None


async def livez(request: web.Request) -> web.StreamResponse:  # noqa: ARG001 - the signature of a handler
    return _answer(HealthRecord(status="alive"), status=200)


async def readyz(request: web.Request) -> web.StreamResponse:
    client = request.app[CLIENT]
    model = ModelRecord.model_validate(client.info, from_attributes=True) if client.info else None
    if request.app[GENERATIONS].is_draining:
        return _answer(HealthRecord(status="draining", model=model), status=503)
    if not client.is_ready:
        return _answer(HealthRecord(status="restarting" if model else "loading", model=model), status=503)
    return _answer(HealthRecord(status="ready", model=model), status=200)


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


ROUTES = [
    Route("GET", "/livez", livez, "Is the process alive", [Answer("It is", body=HealthRecord)]),
    Route(
        "GET",
        "/readyz",
        readyz,
        "Does it take work",
        [Answer("It does", body=HealthRecord), Answer("Not now", status=503, body=HealthRecord)],
    ),
    Route("GET", "/metrics", metrics, "Metrics for Prometheus", [Answer("Metrics", content_type="text/plain")]),
]
