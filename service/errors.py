"""The one error body, in the shape that fal's, OpenAI's and plain clients all parse."""

import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel

logger = logging.getLogger(__name__)


class Problem(BaseModel):
    """One thing that is wrong. `loc` leads to it, `msg` is for people, `type` for programs."""

    loc: list[str | int]
    msg: str
    type: str

    @property
    def param(self) -> str | None:
        """The field's name as the caller wrote it: `image_size.width`."""
        names = [str(part) for part in self.loc[1:]]
        return ".".join(names) or None

    def __str__(self) -> str:
        return f"{self.param}: {self.msg}" if self.param else self.msg


class ErrorDetail(BaseModel):
    """The error as OpenAI's clients read it. `param` is the field at fault, if it is one field."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """Every error answer: `detail` for fal's clients, `error` for OpenAI's, `message` for people."""

    detail: list[Problem]
    message: str
    error_type: str
    error: ErrorDetail


class ApiError(Exception):
    """Answers with `status` and the error body. `error_type` names the kind of error in the body."""

    def __init__(
        self, status: int, error_type: str, problems: Sequence[Problem], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.status = status
        self.error_type = error_type
        self.problems = problems
        self.headers = headers or {}

    @classmethod
    def plain(cls, status: int, error_type: str, message: str, headers: Mapping[str, str] | None = None) -> "ApiError":
        """An error that is about the request as a whole and not about a field of it."""
        return cls(status, error_type, [Problem(loc=[], msg=message, type=error_type)], headers)

    @property
    def body(self) -> ErrorBody:
        first = self.problems[0]
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = ErrorDetail(message=str(self), type=kind, param=first.param, code=first.type)
        return ErrorBody(detail=list(self.problems), message=str(self), error_type=self.error_type, error=error)

    def response(self) -> web.Response:
        # Clients may send field names that no UTF-8 can carry (lone surrogates), so the JSON is escaped to ASCII.
        text = json.dumps(self.body.model_dump())
        return web.Response(status=self.status, text=text, content_type="application/json", headers=self.headers)


def unavailable(code: str, message: str, retry_after: float) -> ApiError:
    """503: come back in `retry_after` seconds; told in whole seconds, at least 1."""
    return ApiError.plain(503, code, message, {"Retry-After": str(max(1, math.ceil(retry_after)))})


def not_found(what: str) -> ApiError:
    return ApiError.plain(404, "not_found", f"{what}: not found")


def of_http_exception(error: web.HTTPException) -> ApiError:
    """The framework's own 404, 405, 413 and the like, in our body. A redirect is not an error: do not pass one."""
    status = HTTPStatus(error.status)
    messages = {
        HTTPStatus.NOT_FOUND: "no such address; /openapi.json lists them all",
        HTTPStatus.METHOD_NOT_ALLOWED: f"method not allowed here; allowed: {error.headers.get('Allow', 'none')}",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is too large",
    }
    headers = {name: value for name, value in error.headers.items() if name == "Allow"}
    code = status.phrase.lower().replace(" ", "_").replace("-", "_")
    return ApiError.plain(status, code, messages.get(status, status.phrase.lower()), headers)


@web.middleware
async def answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Gives every error the one body."""
    try:
        return await handler(request)
    except ApiError as error:
        return error.response()
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return of_http_exception(error).response()
    except ConnectionError:
        raise  # the client is gone
    except Exception:
        # The path and not the URL: a query may hold a prompt.
        logger.exception("%s %s failed", request.method, request.rel_url.raw_path)
        return ApiError.plain(500, "internal_error", "something went wrong here; it was logged").response()
