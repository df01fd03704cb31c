"""Which other web sites may use the service from a browser: none, unless they are named."""

import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from service.errors import ApiError
from service.keys import CORS_ORIGINS
from service.settings import SettingsError

ANY = "*"
ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?|https?://\[[0-9A-Fa-f:]+\](:[0-9]+)?")

METHODS = "GET, HEAD, POST, PUT, DELETE"
ALLOWED_HEADER = re.compile(r"authorization|content-type|last-event-id|x-fal-.+|x-stainless-.+", re.IGNORECASE)
EXPOSED_HEADERS = "x-fal-request-id, x-request-id, retry-after"
PREFLIGHT_SECONDS = "600"


def parse_origins(text: str) -> frozenset[str]:
    """`https://a.example, http://localhost:3000`, or `*` for all. Raises `SettingsError`."""
    origins = {origin.strip() for origin in text.split(",")} - {""}
    for origin in origins:
        if origin != ANY and not ORIGIN.fullmatch(origin):
            raise SettingsError(
                f"--cors-origins {origin}: must be origins such as https://example.com, with commas between, or *"
            )
    return frozenset(origins)


@web.middleware
async def answer_preflight(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answers a browser that asks beforehand, and refuses what a browser would do for a foreign page without asking."""
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return _preflight(request)
    if _is_foreign(request):
        message = "this web site may not use the service; --cors-origins names those that may"
        raise ApiError.plain(403, "foreign_origin", message)
    return await handler(request)


async def add_cors_headers(request: web.Request, response: web.StreamResponse) -> None:
    """A signal of the app, and not a part of the middleware: streams are prepared inside their handlers."""
    allowed = request.app[CORS_ORIGINS]
    if not allowed:
        return
    response.headers.add("Vary", "Origin")
    if _allows(request):
        response.headers["Access-Control-Allow-Origin"] = ANY if ANY in allowed else request.headers["Origin"]
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS


def _preflight(request: web.Request) -> web.Response:
    """204; without our headers a browser takes it for a no."""
    response = web.Response(status=204)
    if _allows(request):
        wanted = request.headers.get("Access-Control-Request-Headers", "").replace(" ", "").split(",")
        response.headers["Access-Control-Allow-Methods"] = METHODS
        response.headers["Access-Control-Allow-Headers"] = ", ".join(filter(ALLOWED_HEADER.fullmatch, wanted))
        response.headers["Access-Control-Max-Age"] = PREFLIGHT_SECONDS
    return response


def _allows(request: web.Request) -> bool:
    allowed, origin = request.app[CORS_ORIGINS], request.headers.get("Origin")
    return origin is not None and (ANY in allowed or origin in allowed)


def _is_foreign(request: web.Request) -> bool:
    """A page of another site opens a WebSocket, or starts work by a GET: neither is kept back by the browser."""
    origin = request.headers.get("Origin")
    if request.headers.get("Upgrade", "").lower() == "websocket":
        own = (f"http://{request.host}", f"https://{request.host}")
        return origin is not None and origin not in own and not _allows(request)
    starts_work = request.method == "GET" and request.path == "/generate"
    return starts_work and request.headers.get("Sec-Fetch-Site") == "cross-site" and not _allows(request)
