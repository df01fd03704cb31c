"""Finished generations, kept for a while so that their pictures can be fetched."""

import time
from collections.abc import Callable

from service.generation import Generation

MIB = 1024 * 1024
RECORD_BYTES = 8192  # what a generation takes beside its pictures and its prompts, roughly
CHARACTER_BYTES = 4  # at most


class Kept:
    """Holds generations for `minutes`, and together at most `mib` of them: the oldest go first.

    `clock` gives monotonic seconds.
    """

    def __init__(self, minutes: float, mib: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = minutes * 60
        self._max_bytes = mib * MIB
        self._clock = clock
        self._bytes = 0
        self._entries: dict[str, tuple[float, Generation]] = {}  # oldest first, with the time of their end

    def add(self, generation: Generation) -> None:
        self._entries[generation.id] = (self._clock(), generation)
        self._bytes += _size(generation)
        self._forget_some()

    def get(self, generation_id: str) -> Generation | None:
        self._forget_some()
        entry = self._entries.get(generation_id)
        return entry[1] if entry else None

    def _forget_some(self) -> None:
        earliest = self._clock() - self._seconds
        while self._entries:
            ended_at, generation = next(iter(self._entries.values()))
            if ended_at > earliest and self._bytes <= self._max_bytes:
                return
            del self._entries[generation.id]
            self._bytes -= _size(generation)
            generation.forget_events()


def _size(generation: Generation) -> int:
    pictures = sum(len(picture.data) for picture in generation.pictures)
    num_characters = len(generation.params.prompt) + len(generation.params.negative_prompt or "")
    return RECORD_BYTES + pictures + num_characters * CHARACTER_BYTES
