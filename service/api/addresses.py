"""Absolute URLs, as the client that asks would write them."""

import re

from aiohttp import web

from service.errors import ApiError

HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
SCHEMES = ("http", "https")


def origin(request: web.Request) -> str:
    """Scheme, host and port by which the client reached us: `https://pictures.example:8443`.

    A proxy in front may name them in `X-Forwarded-Proto` and `X-Forwarded-Host`. Anyone can send those, as anyone can
    send any `Host`: so they are told to nobody but their sender, and answers that hold them must not be cached.
    """
    forwarded = request.headers.get("X-Forwarded-Proto", "")
    scheme = forwarded if forwarded in SCHEMES else request.scheme
    for name in ("X-Forwarded-Host", "Host"):
        if HOST.fullmatch(host := request.headers.get(name, "")):
            return f"{scheme}://{host}"
    raise ApiError.plain(400, "bad_host", "send a Host header with the name of this service")
