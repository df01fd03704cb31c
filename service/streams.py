"""Fan-out: one mailbox for each open stream, in which a newer preview replaces the one that still waits."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from service.generation import Event

KEEP_ALIVE_SECONDS = 15.0


class Counter(Protocol):
    def inc(self) -> None: ...


class KeepAlive:
    """What a mailbox gives when its stream has had nothing to say for a while."""


KEEP_ALIVE = KeepAlive()


class Mailbox:
    """What one stream is still to send, in order. Iterating ends after the last event of the last generation.

    Of each generation at most one preview waits: a newer one takes its place, so that a slow reader loses pictures and
    never holds memory or anyone else up. Nothing else is ever dropped.
    """

    def __init__(self, generation_ids: set[str], coalesced: Counter, gone: Counter) -> None:
        self._open = generation_ids
        self._coalesced = coalesced
        self._gone = gone
        self._pending: dict[tuple[str, int | None], Event] = {}  # previews have no number: one slot for all of them
        self._keep_alive_due = False
        self._changed = asyncio.Event()

    def put(self, event: Event) -> None:
        generation_id = event.generation.id
        preview_slot = (generation_id, None)
        slot = preview_slot if event.preview else (generation_id, event.number)
        if preview_slot in self._pending and (event.preview or event.is_final):
            self._coalesced.inc()
            if event.is_final:
                del self._pending[preview_slot]
        self._pending[slot] = event
        self._changed.set()

    def keep_alive(self) -> None:
        """The stream says something soon, if it has nothing better to say."""
        self._keep_alive_due = True
        self._changed.set()

    def close(self) -> None:
        """The stream has ended, with or without having sent everything."""
        for event in self._pending.values():
            if event.preview:
                self._gone.inc()
        self._pending.clear()

    async def __aiter__(self) -> AsyncIterator[Event | KeepAlive]:
        while self._open or self._pending:
            if self._pending:
                yield self._take()
            elif self._keep_alive_due:
                self._keep_alive_due = False
                yield KEEP_ALIVE
            else:
                self._changed.clear()
                await self._changed.wait()

    def _take(self) -> Event:
        event = self._pending.pop(next(iter(self._pending)))
        if event.is_final:
            self._open.discard(event.generation.id)
        return event


class Ticker:
    """Keeps every open stream alive with one timer for all of them."""

    def __init__(self) -> None:
        self._mailboxes: set[Mailbox] = set()

    @contextlib.contextmanager
    def keeping_alive(self, mailbox: Mailbox) -> Iterator[None]:
        self._mailboxes.add(mailbox)
        try:
            yield
        finally:
            self._mailboxes.discard(mailbox)

    def tick(self) -> None:
        for mailbox in self._mailboxes:
            mailbox.keep_alive()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_SECONDS)
            self.tick()
