"""Writes a mailbox's events to an event stream, and counts what becomes of it."""

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from aiohttp import web

from service.generation import Encoder, Event
from service.keys import METRICS, TICKER
from service.metrics import Metrics
from service.sse import KEEP_ALIVE_FRAME, EventStream
from service.streams import KeepAlive, Mailbox


class EventId(NamedTuple):
    """The id of an event that a client has seen."""

    generation_id: str
    number: int


UNKNOWN = EventId("", 0)

EVENT_ID = re.compile(r"(.+)\.([0-9]{1,15})")


def last_event_id(request: web.Request) -> EventId | None:
    """Where a client that comes back left off; `UNKNOWN` where that is no id of ours, None for a first visit."""
    value = request.headers.get("Last-Event-ID")
    if not value:
        return None
    match = EVENT_ID.fullmatch(value)
    return EventId(match[1], int(match[2])) if match else UNKNOWN


async def stream_events(
    request: web.Request, mailbox: Mailbox, encode: Encoder, headers: Mapping[str, str]
) -> EventStream:
    """Sends all that the mailbox gives. If that ends early for any reason, the connection is broken off.

    A reader that is gone or takes nothing is no error: the stream is returned as it is.
    """
    metrics = request.app[METRICS]
    stream = EventStream(headers)
    with _counted(metrics), request.app[TICKER].keeping_alive(mailbox):
        await stream.prepare(request)
        try:
            async for item in mailbox:
                await _send(stream, item, encode, metrics)
        except TimeoutError:
            metrics.slow_client_closes.inc()
        except ConnectionError:
            pass
        else:
            return stream
        stream.abort()
        return stream


async def _send(stream: EventStream, item: Event | KeepAlive, encode: Encoder, metrics: Metrics) -> None:
    frame = KEEP_ALIVE_FRAME if isinstance(item, KeepAlive) else item.frame(encode)
    if not frame:
        return
    await stream.write_frame(frame)
    kind = "control"
    if isinstance(item, Event) and item.preview:
        kind = "preview"
        metrics.previews_sent.inc()
    elif isinstance(item, Event) and item.name == "succeeded":
        kind = "final"
    metrics.stream_bytes_sent.labels(kind).inc(len(frame))


@contextlib.contextmanager
def _counted(metrics: Metrics) -> Iterator[None]:
    opened_at = time.monotonic()
    metrics.stream_clients.inc()
    try:
        yield
    finally:
        metrics.stream_clients.dec()
        metrics.stream_duration.observe(time.monotonic() - opened_at)
