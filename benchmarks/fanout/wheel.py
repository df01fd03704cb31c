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

    async def run(self, send: Callable[[Sequence[Member], float], Awaitable[None]]) -> None:
        """Gives `send` the members whose turn it is, and when it was due, in monotonic seconds.

        A turn that comes late is caught up on, but for those that a process which stood still missed altogether.
        """
        number = int(time.monotonic() / TICK_SECONDS)
        while True:
            number = max(number + 1, int(time.monotonic() / TICK_SECONDS) - len(self._slots))
            due = number * TICK_SECONDS
            await _sleep_until(due)
            slot = self._slots[number % len(self._slots)]
            if slot:
                await send(list(slot), due)


async def _sleep_until(moment: float) -> None:
    """Never wakes early, as a timer may that counts milliseconds."""
    while (seconds := moment - time.monotonic()) > 0:  # noqa: ASYNC110 - time comes without an event
        await asyncio.sleep(seconds)
