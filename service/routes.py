"""A route with all that the OpenAPI document says of it."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
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
    """`errors` are the statuses of its error answers, `query` describes the parameters beside those of `query_body`.

    A public route needs no API key.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Sequence[Answer]
    errors: Sequence[int] = ()
    body: type[BaseModel] | None = None
    query_body: type[BaseModel] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    is_public: bool = False

    @property
    def first_word(self) -> str:
        """`/v1/models/{model}` -> `v1`."""
        return self.path.split("/")[1]

    def pattern(self, reserved: Iterable[str]) -> str:
        """The path for the router. Owners and apps may have any name that is not reserved, so that a typo is a 404."""
        words = "|".join(sorted(map(re.escape, reserved)))
        name = rf"(?!(?:{words})(?:/|$))[A-Za-z0-9_.-]+"
        patterns = {"{owner}": f"{{owner:{name}}}", "{alias}": f"{{alias:{name}}}", "{model}": "{model:.+}"}
        return re.sub(r"{\w+}", lambda match: patterns.get(match[0], match[0]), self.path)

    @property
    def answers_head(self) -> bool:
        """A GET that only shows something. Not one that streams: it may start a generation."""
        return self.method == "GET" and all(answer.content_type != EVENT_STREAM for answer in self.answers)
