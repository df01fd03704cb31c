"""Generations of `GET /generate` whose clients went away before the first event, so without an id to come back by."""

from typing import NamedTuple
from weakref import WeakValueDictionary

from aiohttp import web

from service.generation import Generation


class Question(NamedTuple):
    """Who asked, and for what, word for word."""

    owner: str | None
    fields: frozenset[tuple[str, str]]
    encoding: str


class Unanswered:
    """Remembers the last one for each question, as long as others hold it."""

    def __init__(self) -> None:
        self._generations: WeakValueDictionary[Question, Generation] = WeakValueDictionary()

    def remember(self, question: Question, generation: Generation) -> None:
        self._generations[question] = generation

    def take_back(self, question: Question) -> Generation | None:
        """Gives it out once, and only if it has a picture or may still give one, and nobody else watches it."""
        generation = self._generations.pop(question, None)
        if generation is None or generation.watchers:
            return None
        return generation if generation.status == "succeeded" or not generation.is_ending else None


UNANSWERED = web.AppKey("unanswered", Unanswered)
