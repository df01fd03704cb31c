"""The web application: routes, what the handlers find in it, and what runs beside them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Iterable

from aiohttp import web

from scheduler.client import Client
from service.access import authenticate
from service.api import docs, fal, generate, health, native, openai, page, proxy, queue, realtime
from service.api.admission import MAX_BODY_BYTES
from service.api.sockets import close_sockets
from service.api.unanswered import UNANSWERED, Unanswered
from service.api_keys import ApiKeys
from service.cors import add_cors_headers, answer_preflight, parse_origins
from service.errors import answer_errors
from service.generations import Generations
from service.keys import (
    API_KEYS,
    CLIENT,
    CORS_ORIGINS,
    GENERATIONS,
    LIMITS,
    METRICS,
    PUBLIC_ROUTES,
    SETTINGS,
    SOCKETS,
    TICKER,
)
from service.limits import KeyLimits
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
    *docs.ROUTES,
    *fal.ROUTES,
    *queue.ROUTES,
    *proxy.ROUTES,
    *realtime.ROUTES,
    *generate.ROUTES,
    *native.ROUTES,
    *openai.ROUTES,
    *health.ROUTES,
    Route("GET", "/openapi.json", openapi, "This document", [Answer("The document")], is_public=True),
]

RESERVED_WORDS = frozenset(route.first_word for route in ROUTES if route.first_word[:1] not in ("", "{"))


def make_app(settings: ServeSettings, client: Client) -> web.Application:
    """The app takes over `client.on_report`. Raises `SettingsError`."""
    app = web.Application(middlewares=[answer_errors, answer_preflight, authenticate], client_max_size=MAX_BODY_BYTES)
    app[SETTINGS] = settings
    app[CLIENT] = client
    app[METRICS] = Metrics()
    app[GENERATIONS] = Generations(client, settings, app[METRICS])
    app[SOCKETS] = set()
    app[UNANSWERED] = Unanswered()
    app[TICKER] = Ticker(settings.keep_alive)
    app[API_KEYS] = ApiKeys.read(settings.api_key_file) if settings.api_key_file else None
    app[LIMITS] = KeyLimits(settings.key_concurrency, settings.key_rate, settings.key_streams)
    app[PUBLIC_ROUTES] = frozenset((route.method, route.path) for route in ROUTES if route.is_public)
    app[CORS_ORIGINS] = parse_origins(settings.cors_origins)
    client.on_report = app[GENERATIONS].observe_report
    _add_routes(app, [route for route in ROUTES if route not in health.METRICS_ROUTES or settings.metrics_port is None])
    app.on_shutdown.append(close_sockets)
    app.on_response_prepare.append(add_cors_headers)
    app.cleanup_ctx.append(_background)
    return app


def make_metrics_app(app: web.Application) -> web.Application:
    """The metrics of an app, on a listener of their own."""
    metrics_app = web.Application(middlewares=[answer_errors])
    metrics_app[METRICS], metrics_app[GENERATIONS] = app[METRICS], app[GENERATIONS]
    _add_routes(metrics_app, health.METRICS_ROUTES)
    return metrics_app


def _add_routes(app: web.Application, routes: Iterable[Route]) -> None:
    for route in routes:
        path = route.pattern(RESERVED_WORDS)
        app.router.add_route(route.method, path, route.handler)
        if route.answers_head:
            app.router.add_route("HEAD", path, route.handler)


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
