"""Where a worker's pictures go: the real outbox with its encoding threads, a socket, and the reports that come out."""

import asyncio
import queue
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from scheduler import wire
from scheduler.messages import Report
from scheduler.outbox import Outbox, Outgoing
from scheduler.worker import ENCODE_THREADS


class Outlet:
    """`arrived` holds what the service would get, in order. The event loop has a thread of its own, as in a worker."""

    def __init__(self) -> None:
        self.arrived: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._opened: Future[Outbox] = Future()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)
        self._thread.start()
        self._outbox = self._opened.result()

    def emit(self, items: Sequence[Outgoing]) -> None:
        """Returns at once."""
        self._outbox.emit(items)

    def close(self) -> None:
        """Returns when all that was emitted has arrived."""
        self._loop.call_soon_threadsafe(self._outbox.close)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        near, far = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=near)
        reader, other_writer = await asyncio.open_connection(sock=far)
        outbox = Outbox(writer, ENCODE_THREADS)
        sending = asyncio.create_task(outbox.send())
        self._opened.set_result(outbox)
        while (report := await wire.read(reader, wire.REPORTS)) is not None:
            self.arrived.put(report)
        other_writer.close()
        await sending
