"""The web application: routes, what the handlers find in it, and what runs beside them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine

from aiohttp import web

from scheduler.client import Client
from service.api import fal, generate, health, native, page
from service.api.admission import MAX_BODY_BYTES
from service.errors import answer_errors
from service.generations import Generations
from service.keys import CLIENT, GENERATIONS, METRICS, SETTINGS, TICKER
from service.metrics import Metrics
from service.openapi import openapi_document
from service.routes import Answer, Route
from service.settings import ServeSettings
from service.streams import Ticker

LAG_SAMPLE_SECONDS = 0.5


async def openapi(request: web.Request) -> web.StreamResponse:
    return web.json_response(openapi_document(ROUTES, request.app[CLIENT].info))


ROUTES = [
    *page.ROUTES,
    *fal.ROUTES,
    *generate.ROUTES,
    *native.ROUTES,
    *health.ROUTES,
    Route("GET", "/openapi.json", openapi, "This document", [Answer("The document")]),
]


def make_app(settings: ServeSettings, client: Client) -> web.Application:
    """The app takes over `client.on_report`."""
    app = web.Application(middlewares=[answer_errors], client_max_size=MAX_BODY_BYTES)
    app[SETTINGS] = settings
    app[CLIENT] = client
    app[METRICS] = Metrics()
    app[GENERATIONS] = Generations(client, settings, app[METRICS])
    app[TICKER] = Ticker()
    client.on_report = app[GENERATIONS].observe_report
    for route in ROUTES:
        app.router.add_route(route.method, route.path, route.handler)
        if route.answers_head:
            app.router.add_route("HEAD", route.path, route.handler)
    app.cleanup_ctx.append(_background)
    return app


async def _background(app: web.Application) -> AsyncIterator[None]:
    async with _running(app[TICKER].run()), _running(_measure_lag(app[METRICS])):
        yield
    await app[GENERATIONS].abort()


@contextlib.asynccontextmanager
async def _running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _measure_lag(metrics: Metrics) -> None:
    while True:
        due = time.monotonic() + LAG_SAMPLE_SECONDS
        await asyncio.sleep(LAG_SAMPLE_SECONDS)
        metrics.event_loop_lag.observe(max(0.0, time.monotonic() - due))
