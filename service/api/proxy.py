"""`/fal/proxy`, for fal's clients with a `proxyUrl`: what they would send to fal is answered here, never fetched."""

from aiohttp import web
from yarl import URL

from service.access import key_of
from service.api import fal, queue
from service.errors import ApiError, not_found
from service.routes import Answer, Route

TARGET_HEADER = "X-Fal-Target-Url"
MAX_TARGET_CHARACTERS = 2048

NO_TOKEN = "none"
"""Where no key is needed; the clients want some text."""

HOSTS = {"fal.run": "", "queue.fal.run": "/queue", "rest.fal.ai": "/fal"}
"""By fal's host: where its paths are found here."""


async def proxy(request: web.Request) -> web.StreamResponse:
    """The request with the path that its target has here. Only fal's own routes are reached in this way."""
    inner = request.clone(rel_url=_path_here(request.headers.get(TARGET_HEADER, "")))
    match = await request.app.router.resolve(inner)
    if match.http_exception is not None or match.handler not in HANDLERS:
        raise not_found(f"the target in {TARGET_HEADER}")
    match.add_app(request.app)
    inner._match_info = match
    return await match.handler(inner)


def _path_here(target: str) -> URL:
    """fal's URL -> path and query of ours. Raises `ApiError` 400."""
    try:
        url = URL(target[:MAX_TARGET_CHARACTERS])
        origin, prefix = url.origin(), HOSTS.get(url.host or "")
    except ValueError:  # not absolute, or nothing that is a URL
        prefix = None
    if prefix is None or origin != URL(f"https://{url.host}") or len(target) > MAX_TARGET_CHARACTERS:
        raise ApiError.plain(400, "bad_target", f"{TARGET_HEADER} must be the https URL of one of {', '.join(HOSTS)}")
    return URL.build(path=prefix + url.raw_path, query_string=url.raw_query_string, encoded=True)


async def token(request: web.Request) -> web.StreamResponse:
    """What fal's clients ask for before they open a WebSocket, to send it as `fal_jwt_token`: their own key."""
    return web.json_response(key_of(request) or NO_TOKEN, headers={"Cache-Control": "no-store"})


TOKEN_ROUTES = [
    Route(
        "POST",
        "/fal/tokens/",
        token,
        "A token for WebSockets (fal)",
        [Answer("The token, a string")],
    ),
]

HANDLERS = frozenset(route.handler for route in (*fal.ROUTES, *queue.ROUTES, *TOKEN_ROUTES))

ROUTES = [
    *TOKEN_ROUTES,
    *(
        Route(
            method,
            "/fal/proxy",
            proxy,
            f"Answer what {TARGET_HEADER} names, as fal would",
            [Answer("As that route answers", content_type="*/*")],
            (400, 404),
        )
        for method in ("GET", "POST", "PUT")
    ),
]
