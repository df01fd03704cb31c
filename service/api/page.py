"""The page, and the files that belong to it."""

from pathlib import Path

from aiohttp import web

from service.routes import Answer, Route

WEB_FOLDER = Path(__file__).resolve().parent.parent / "web"

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # ask each time whether it changed, so that an update shows at once
}


async def index(request: web.Request) -> web.StreamResponse:  # noqa: ARG001 - the signature of a handler
    return web.FileResponse(WEB_FOLDER / "index.html", headers=HEADERS)


async def file(request: web.Request) -> web.StreamResponse:
    # Chosen from those that are there, so that no path is ever made of what a client sends.
    path = next((path for path in WEB_FOLDER.iterdir() if path.name == request.match_info["name"]), None)
    if path is None or not path.is_file():
        raise web.HTTPNotFound
    return web.FileResponse(path, headers=HEADERS)


ROUTES = [
    Route("GET", "/", index, "The page", [Answer("The page", content_type="text/html")], is_public=True),
    Route(
        "GET",
        "/web/{name}",
        file,
        "A file of the page",
        [Answer("The file", content_type="*/*")],
        (404,),
        is_public=True,
    ),
]
