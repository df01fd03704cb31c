"""What leaves a worker: pictures are encoded in threads, and the engine loop waits for none of it."""

import asyncio
import functools
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from scheduler import wire
from scheduler.engine import Pixels, describe
from scheduler.images import encode_image, encode_preview
from scheduler.messages import Cancelled, Failed, Finished, Preview, Report, StepStats
from scheduler.request import Request


@dataclass(frozen=True, slots=True)
class PreviewPicture:
    """A preview that is still pixels. `step` counts completed steps."""

    request: Request
    pixels: Pixels
    step: int

    def encode(self) -> Preview:
        params = self.request.params
        image = encode_preview(self.pixels, params)
        return Preview(
            self.request.id, self.step, params.num_steps, image.width, image.height, image.content_type, image.data
        )


@dataclass(frozen=True, slots=True)
class FinalPicture:
    """A finished picture that is still pixels. `denoised_at` in monotonic seconds."""

    request: Request
    pixels: Pixels
    prompt_truncated: bool
    denoised_at: float

    def encode(self) -> Finished:
        encoding_at = time.monotonic()
        image = encode_image(self.pixels, self.request.params)
        return Finished(
            self.request.id,
            image.width,
            image.height,
            image.content_type,
            image.data,
            self.prompt_truncated,
            self._timings(encoding_at),
        )

    def _timings(self, encoding_at: float) -> dict[str, float]:
        arrived_at, now = self.request.arrived_at, time.monotonic()
        started_at = arrived_at if self.request.started_at is None else self.request.started_at
        return {
            "queue": started_at - arrived_at,
            "denoise": self.denoised_at - started_at,
            "encode": now - encoding_at,
            "total": now - arrived_at,
        }


Picture = PreviewPicture | FinalPicture
Outgoing = Report | Picture


def _encode(picture: Picture) -> Preview | Finished:
    return picture.encode()


class Outbox:
    """Sends reports in order, and previews when there is room for them.

    Previews wait in one slot per request, where a newer one replaces an older one, before encoding and again before
    sending; all else waits in a queue that drops nothing, and so do the previews of a request that keeps them. Reports
    go before previews, so a request's `Started` is sent before its first preview; what ends a request also empties its
    slots, so no preview follows it.

    `emit` may be called from any thread; all the rest happens on the event loop.
    """

    def __init__(self, writer: asyncio.StreamWriter, num_threads: int) -> None:
        self._writer = writer
        self._num_threads = num_threads
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="encode")
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._is_open = True
        self._is_closing = False
        self._reports: deque[Report] = deque()
        self._pictures: dict[str, deque[Picture]] = {}  # to be encoded: of each request the newest, or those it keeps
        self._encoding: dict[str, asyncio.Future[Preview | Finished]] = {}
        self._previews: dict[str, Preview] = {}  # of each request the newest, to be sent
        self._num_coalesced = 0
        self._encode_seconds = 0.0

    def emit(self, items: Sequence[Outgoing]) -> None:
        """Returns at once."""
        with suppress(RuntimeError):  # the event loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._accept, items)

    async def send(self) -> None:
        """Writes to the socket until it is lost, or until everything is sent after `close`."""
        try:
            while not (self._is_closing and self._is_empty):
                await self._changed.wait()
                self._changed.clear()
                await self._send_waiting()
            self._writer.close()
            await self._writer.wait_closed()  # the last bytes have left this process
        except ConnectionError:
            pass  # whoever reads from the socket learns of it too, and ends the worker
        finally:
            self._is_open = False
            self._pool.shutdown(wait=False)

    def close(self) -> None:
        """Nothing more will come; `send` returns when all that came before is sent."""
        self._loop.call_soon(self._close)  # behind what was emitted and is not yet accepted

    def _close(self) -> None:
        self._is_closing = True
        self._changed.set()

    @property
    def _is_empty(self) -> bool:
        return not (self._reports or self._pictures or self._encoding or self._previews)

    async def _send_waiting(self) -> None:
        while self._reports or self._previews:
            report = self._reports.popleft() if self._reports else self._previews.pop(next(iter(self._previews)))
            self._writer.write(wire.encode(report))
            await self._writer.drain()

    def _accept(self, items: Sequence[Outgoing]) -> None:
        for item in items:
            if isinstance(item, PreviewPicture | FinalPicture):
                self._line_up(item)
            else:
                self._queue(item)
        self._encode_more()
        self._changed.set()

    def _line_up(self, picture: Picture) -> None:
        waiting = self._pictures.setdefault(picture.request.id, deque())
        if waiting and not picture.request.params.keeps_previews:
            waiting.clear()
            self._num_coalesced += 1
        waiting.append(picture)

    def _queue(self, report: Report) -> None:
        if isinstance(report, StepStats):
            report = self._complete(report)
        elif isinstance(report, Finished | Failed | Cancelled):
            self._num_coalesced += isinstance(report, Finished) and report.request_id in self._previews
            self._forget(report.request_id)
        self._reports.append(report)

    def _complete(self, stats: StepStats) -> StepStats:
        """Adds what happened here since the last step."""
        stages = stats.stages | ({"image_encode": self._encode_seconds} if self._encode_seconds else {})
        stats = msgspec.structs.replace(stats, previews_coalesced=self._num_coalesced, stages=stages)
        self._num_coalesced, self._encode_seconds = 0, 0.0
        return stats

    def _forget(self, request_id: str) -> None:
        """The request has ended: what still waits or is being encoded is not wanted any more."""
        self._pictures.pop(request_id, None)
        self._encoding.pop(request_id, None)
        self._previews.pop(request_id, None)

    def _encode_more(self) -> None:
        """Keeps the threads busy, with one picture of a request at a time, so that they stay in order."""
        idle = [request_id for request_id in self._pictures if request_id not in self._encoding]
        for request_id in idle[: max(0, self._num_threads - len(self._encoding))] if self._is_open else []:
            picture = self._pictures[request_id].popleft()
            if not self._pictures[request_id]:
                del self._pictures[request_id]
            encoding = self._loop.run_in_executor(self._pool, _encode, picture)
            self._encoding[request_id] = encoding
            encoding.add_done_callback(functools.partial(self._encoded, picture, time.monotonic()))

    def _encoded(self, picture: Picture, began_at: float, encoding: asyncio.Future[Preview | Finished]) -> None:
        request_id, error = picture.request.id, encoding.exception()
        if self._encoding.get(request_id) is not encoding:
            return  # the request ended meanwhile
        del self._encoding[request_id]
        self._encode_seconds += time.monotonic() - began_at
        keeps_previews = picture.request.params.keeps_previews
        if error is None and isinstance(preview := encoding.result(), Preview) and not keeps_previews:
            self._num_coalesced += request_id in self._previews
            self._previews[request_id] = preview
        elif error is None:
            self._queue(encoding.result())
        elif isinstance(picture, FinalPicture):
            self._queue(Failed(request_id, "encode_error", describe(error)))
        self._encode_more()
        self._changed.set()
