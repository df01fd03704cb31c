"""A route with all that the OpenAPI document says of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web
from pydantic import BaseModel

EVENT_STREAM = "text/event-stream"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer. `body` is its JSON, where it is JSON."""

    description: str
    status: int = 200
    content_type: str = "application/json"
    body: type[BaseModel] | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """`errors` are the statuses of its error answers, `query` describes the parameters beside those of `query_body`."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Sequence[Answer]
    errors: Sequence[int] = ()
    body: type[BaseModel] | None = None
    query_body: type[BaseModel] | None = None
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def answers_head(self) -> bool:
        """A GET that only shows something. Not one that streams: it may start a generation."""
        return self.method == "GET" and all(answer.content_type != EVENT_STREAM for answer in self.answers)
