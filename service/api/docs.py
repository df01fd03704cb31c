"""`GET /docs`: the OpenAPI document as a page to read and to try."""

from aiohttp import web

from service.api.page import HEADERS, WEB_FOLDER
from service.routes import Answer, Route


async def docs(request: web.Request) -> web.StreamResponse:  # noqa: ARG001 - the signature of a handler
    return web.FileResponse(WEB_FOLDER / "docs.html", headers=HEADERS)


ROUTES = [
    Route(
        "GET",
        "/docs",
        docs,
        "This interface, to read and to try",
        [Answer("The page", content_type="text/html")],
        is_public=True,
    ),
]
