"""Sends on a regular beat."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

TICK_SECONDS = 0.01

Member = TypeVar("Member", bound=Hashable)


class Wheel(Generic[Member]):
    """Has each member's turn once in `interval` seconds; the turns lie evenly spread over it."""

    def __init__(self, interval: float) -> None:
        self._slots: list[dict[Member, None]] = [{} for _ in range(max(1, round(interval / TICK_SECONDS)))]

    def add(self, member: Member) -> None:
        min(self._slots, key=len)[member] = None

    def discard(self, member: Member) -> None:
        for slot in self._slots:
            slot.pop(member, None)

    @contextmanager
    def turning(self, member: Member) -> Iterator[None]:
        self.add(member)
        try:
            yield
        finally:
            self.discard(member)

    async def run(self, send: Callable[[Sequence[Member]], Awaitable[None]]) -> None:
        """Gives `send` the members whose turn it is. Turns missed while the process stood still are left out."""
        number = 0
        while True:
            number = max(number + 1, int(time.monotonic() / TICK_SECONDS))
            await asyncio.sleep(number * TICK_SECONDS - time.monotonic())
            slot = self._slots[number % len(self._slots)]
            if slot:
                await send(list(slot))
