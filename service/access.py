"""Who asks, and what is theirs: every request is let in here, and every generation has one owner."""

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from scheduler.request import GenerateParams
from service.api_keys import ApiKey
from service.errors import ApiError, Problem
from service.generation import Generation
from service.keys import API_KEYS, GENERATIONS, LIMITS, METRICS, PUBLIC_ROUTES

KEY_PARAMETERS = ("key", "fal_jwt_token")
"""Where a key is in the query, for clients that cannot send headers: EventSource and WebSocket in a browser."""

SCHEMES = ("key", "bearer")

API_KEY = web.RequestKey("api_key", ApiKey)


@web.middleware
async def authenticate(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """With keys, all but the public routes is for those who have one."""
    keys = request.app[API_KEYS]
    if keys is None or _is_public(request):
        return await handler(request)
    key = keys.find(key_of(request))
    if key is None:
        request.app[METRICS].requests_rejected.labels("unauthorized").inc()
        raise _unauthorized()
    request[API_KEY] = key
    return await handler(request)


def owner_of(request: web.Request) -> str | None:
    """The name of the key that came with the request; None where the service needs none."""
    key = request.get(API_KEY)
    return key.name if key is not None else None


def admit(
    request: web.Request, params: Sequence[GenerateParams], grace: float | None, instead_of: Generation | None = None
) -> Generation:
    """`Generations.admit` for whoever asks. Raises `ApiError` also where a key may not ask for that, or for so much.

    `instead_of`: one of the same key that the caller cancels as soon as this is admitted.
    """
    generations, limits, key = request.app[GENERATIONS], request.app[LIMITS], request.get(API_KEY)
    if key is None:
        return generations.admit(params, grace)
    if max(each.priority for each in params) > key.max_priority:
        message = f"must be at most {key.max_priority} with this API key"
        raise ApiError(422, "validation", [Problem(loc=["body", "priority"], msg=message, type="less_than_equal")])
    is_replacing = instead_of is not None and not instead_of.is_ending
    limits.check(key.name, generations.count_under_way(key.name) - is_replacing)
    generation = generations.admit(params, grace, key.name)
    limits.charge(key.name, generation.cost)
    return generation


def check_streams(request: web.Request) -> None:
    """Before work is started for a new stream. Raises `ApiError` 429 where the key has as many open as it may."""
    if (owner := owner_of(request)) is not None:
        request.app[LIMITS].check_streams(owner)


class OpenStream:
    """A stream of whoever asks, while it is open; entering it raises as `check_streams`, and counts that. No generator,
    because there are thousands of them and each would take more.
    """

    __slots__ = ("_owner", "_request")

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._owner = owner_of(request)

    def __enter__(self) -> None:
        if self._owner is None:
            return
        try:
            self._request.app[LIMITS].open_stream(self._owner, resumes="Last-Event-ID" in self._request.headers)
        except ApiError:
            # Not a request for a picture, so it is not among those that ended.
            self._request.app[METRICS].requests_rejected.labels("too_many_streams").inc()
            raise

    def __exit__(self, *_: object) -> None:
        if self._owner is not None:
            self._request.app[LIMITS].close_stream(self._owner)


def find(request: web.Request, generation_id: str) -> Generation | None:
    """A generation of whoever asks; anyone else's is as unknown as one that never was."""
    generation = request.app[GENERATIONS].get(generation_id)
    return generation if generation is not None and generation.owner == owner_of(request) else None


def _is_public(request: web.Request) -> bool:
    resource = request.match_info.route.resource
    method = "GET" if request.method == "HEAD" else request.method
    return resource is not None and (method, resource.canonical) in request.app[PUBLIC_ROUTES]


def key_of(request: web.Request) -> str:
    """What the client sent as its key; empty where there is none."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() in SCHEMES:
        return key.strip()
    return next((request.query[name] for name in KEY_PARAMETERS if name in request.query), "")


def _unauthorized() -> ApiError:
    message = "an API key is needed; send it as `Authorization: Bearer KEY`, or as ?key= where headers cannot be sent"
    challenge = 'Key realm="latentcast", Bearer realm="latentcast"'
    return ApiError.plain(401, "unauthorized", message, {"WWW-Authenticate": challenge})
