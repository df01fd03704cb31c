"""Writes a mailbox's events to an event stream, and counts what becomes of it."""

import re
import time
from collections.abc import Mapping
from typing import NamedTuple

from aiohttp import web

from service.access import OpenStream
from service.api.admission import request_id_headers
from service.generation import Encoder, Event, Generation
from service.keys import GENERATIONS, METRICS, TICKER
from service.metrics import Metrics, StreamKind
from service.sse import KEEP_ALIVE_FRAME, EventStream
from service.streams import KeepAlive, Mailbox

HAS_TOLD = web.RequestKey("has_told", bool)
"""There once an event was written to the request's stream."""


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


async def stream_to_its_end(
    request: web.Request, generation: Generation, encode: Encoder, after: int | None = None
) -> EventStream:
    """Streams one generation. If it gives no picture, the connection is broken off, so that it does not end well."""
    with request.app[GENERATIONS].watch([generation], after) as mailbox:
        stream = await stream_events(request, mailbox, encode, request_id_headers(generation.id))
    if generation.is_over and generation.status != "succeeded":
        await stream.break_off()
    return stream


async def stream_events(
    request: web.Request, mailbox: Mailbox, encode: Encoder, headers: Mapping[str, str]
) -> EventStream:
    """Sends all that the mailbox gives. If that ends early for any reason, the connection is broken off.

    A reader that is gone or takes nothing is no error: the stream is returned as it is. Raises `ApiError` 429 where
    whoever asks has as many streams open as it may.
    """
    metrics, ticker = request.app[METRICS], request.app[TICKER]
    stream = EventStream(headers)
    with OpenStream(request), CountedStream(metrics):
        await stream.prepare(request)
        ticker.add(mailbox)
        try:
            while await mailbox.has_more():
                await stream.ready()  # what a slow reader then gets is the newest there is
                item = mailbox.take()
                if await _send(stream, item, encode, metrics) and not isinstance(item, KeepAlive):
                    request[HAS_TOLD] = True
        except TimeoutError:
            metrics.slow_client_closes.inc()
        except ConnectionError:
            pass
        else:
            return stream
        finally:
            ticker.discard(mailbox)
        stream.abort()
        return stream


async def _send(stream: EventStream, item: Event | KeepAlive, encode: Encoder, metrics: Metrics) -> bool:
    """Whether there was something to send."""
    frame = KEEP_ALIVE_FRAME if isinstance(item, KeepAlive) else item.frame(encode)
    if not frame:
        return False
    await stream.write_frame(frame)
    count_sent(metrics, kind_of(item), len(frame))
    return True


def kind_of(item: Event | KeepAlive) -> StreamKind:
    """As what it is counted."""
    if isinstance(item, KeepAlive):
        return "control"
    if item.preview is not None:
        return "preview"
    return "final" if item.name == "succeeded" else "control"


def count_sent(metrics: Metrics, kind: StreamKind, num_bytes: int) -> None:
    """Counts what has left for a client."""
    metrics.stream_bytes[kind].inc(num_bytes)
    if kind == "preview":
        metrics.previews_sent.inc()


class CountedStream:
    """Counts a stream while it is open. No generator, because there are thousands of them and each would take more."""

    __slots__ = ("_metrics", "_opened_at")

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._opened_at = time.monotonic()

    def __enter__(self) -> None:
        self._metrics.stream_clients.inc()

    def __exit__(self, *_: object) -> None:
        self._metrics.stream_clients.dec()
        self._metrics.stream_duration.observe(time.monotonic() - self._opened_at)
