"""Fan-out: one mailbox for each open stream, in which a newer preview replaces the one that still waits."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from scheduler.bell import Bell
from service.generation import Event


class Counter(Protocol):
    def inc(self) -> None: ...


class KeepAlive:
    """What a mailbox gives when its stream has had nothing to say for a while."""


KEEP_ALIVE = KeepAlive()


class Slot(NamedTuple):
    """Where an event waits; a preview that may give way has no number, and shares its slot with newer ones."""

    generation_id: str
    image_index: int
    number: int | None


class Mailbox:
    """What one stream is still to send, in order. Iterating ends after the last event of the last generation.

    Of each image of a generation at most one preview waits: a newer one takes its place, so that a slow reader loses
    pictures, though of no image all of them, and never holds memory or anyone else up. Images take turns, and a preview
    that one with a higher number overtakes is dropped, so that the numbers only rise. Nothing else is ever dropped.
    """

    __slots__ = ("_changed", "_coalesced", "_gone", "_keep_alive_due", "_open", "_pending")

    def __init__(self, generation_ids: set[str], coalesced: Counter, gone: Counter) -> None:
        self._open = generation_ids
        self._coalesced = coalesced
        self._gone = gone
        self._pending: dict[Slot, Event] = {}
        self._keep_alive_due = False
        self._changed = Bell()

    def put(self, event: Event) -> None:
        if event.is_final:
            self._drop_previews_before(event)
        slot = _slot_of(event)
        if slot in self._pending:
            self._coalesced.inc()
        self._pending[slot] = event
        self._changed.ring()

    def _drop_previews_before(self, event: Event) -> None:
        """Those that may give way, of the same generation."""
        for image in event.generation.images:
            slot = Slot(event.generation.id, image.index, None)
            waiting = self._pending.get(slot)
            if waiting is not None and waiting.number < event.number:
                del self._pending[slot]
                self._coalesced.inc()

    def keep_alive(self) -> None:
        """The stream says something soon, if it has nothing better to say."""
        self._keep_alive_due = True
        self._changed.ring()

    def close(self) -> None:
        """The stream has ended, with or without having sent everything."""
        for event in self._pending.values():
            if event.preview:
                self._gone.inc()
        self._pending.clear()

    async def __aiter__(self) -> AsyncIterator[Event | KeepAlive]:
        while await self.has_more():
            yield self.take()

    async def has_more(self) -> bool:
        """Waits for something to send, which `take` gives; False once there will be nothing more."""
        while not self._pending:
            if not self._open:
                return False
            if self._keep_alive_due:
                return True
            await self._changed.wait()
        return True

    def take(self) -> Event | KeepAlive:
        """What is to be sent next."""
        if not self._pending:
            self._keep_alive_due = False
            return KEEP_ALIVE
        event = self._pending.pop(next(iter(self._pending)))
        if self._pending:
            self._drop_previews_before(event)
        if event.is_final:
            self._open.discard(event.generation.id)
        return event


def _slot_of(event: Event) -> Slot:
    gives_way = event.preview is not None and not event.generation.params.keeps_previews
    return Slot(event.generation.id, event.image_index, None if gives_way else event.number)


class Ticker:
    """Keeps every open stream alive with one timer for all of them, at every `interval` seconds."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._mailboxes: set[Mailbox] = set()

    def add(self, mailbox: Mailbox) -> None:
        """Of a stream that is open now."""
        self._mailboxes.add(mailbox)

    def discard(self, mailbox: Mailbox) -> None:
        self._mailboxes.discard(mailbox)

    def tick(self) -> None:
        for mailbox in self._mailboxes:
            mailbox.keep_alive()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            self.tick()
