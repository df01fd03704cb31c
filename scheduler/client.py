"""What the service holds: one client for all of its workers."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from scheduler import wire
from scheduler.cost import CostModel
from scheduler.messages import (
    Abort,
    Add,
    Cancelled,
    Command,
    Drain,
    Failed,
    Finished,
    ModelInfo,
    Preview,
    Ready,
    Report,
    RequestEvent,
    Started,
)
from scheduler.request import GenerateParams


class NotReady(Exception):  # noqa: N818 - a state of the service, not a fault
    """No worker takes requests now."""


class Client:
    """Routes requests over the workers that are attached, and their events back."""

    def __init__(self, on_report: Callable[[str, Report], None] | None = None) -> None:
        self.on_report = on_report
        """Called with a worker's name and each of its reports that is not about one request."""
        self.info: ModelInfo | None = None
        """The model; None until the first worker is ready."""
        self._workers: dict[str, _Worker] = {}

    @property
    def is_ready(self) -> bool:
        return any(worker.is_ready for worker in self._workers.values())

    @property
    def max_rows(self) -> int:
        """UNet rows that all workers together take in one step."""
        return sum(worker.info.max_rows for worker in self._workers.values() if worker.info)

    def generate(self, request_id: str, params: GenerateParams) -> AsyncIterator[RequestEvent]:
        """Sends a request to the least loaded worker.

        The iterator ends after exactly one Finished, Failed or Cancelled. Of the previews that were not yet taken from
        it, it holds the newest only. Raises NotReady.
        """
        ready = [worker for worker in self._workers.values() if worker.is_ready]
        if not ready:
            raise NotReady("no worker is ready")
        return min(ready, key=lambda worker: worker.load).add(request_id, params)

    def abort(self, request_id: str) -> None:
        """Asks for the request to end soon, with Cancelled unless it ends otherwise first. Unknown ids are ignored."""
        for worker in self._workers.values():
            worker.abort(request_id)

    def drain(self, name: str) -> None:
        """Sends that worker nothing more, and lets it exit when it has finished what it has."""
        if name in self._workers:
            self._workers[name].drain()

    async def attach(
        self,
        name: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_report: Callable[[Report], None] | None = None,
    ) -> None:
        """Runs the connection to a worker until it ends; requests that are still with the worker then fail.

        `on_report` is told what the client's own is told, of this worker.
        """
        worker = self._workers[name] = _Worker(writer)
        try:
            while (report := await wire.read(reader, wire.REPORTS)) is not None:
                if isinstance(report, Started | Preview | Finished | Failed | Cancelled):
                    worker.deliver(report)
                    continue
                if isinstance(report, Ready):
                    self.info = worker.info = report.info
                if on_report is not None:
                    on_report(report)
                if self.on_report is not None:
                    self.on_report(name, report)
        finally:
            del self._workers[name]
            worker.lose()
            writer.close()


class _Worker:
    """One worker, its connection and the requests it has."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.info: ModelInfo | None = None
        self.load = 0.0  # cost of the requests it has
        self._writer = writer
        self._is_draining = False
        self._requests: dict[str, _Events] = {}

    @property
    def is_ready(self) -> bool:
        return self.info is not None and not self._is_draining

    def add(self, request_id: str, params: GenerateParams) -> "_Events":
        assert self.info is not None
        if request_id in self._requests:
            raise ValueError(f"a request with the id {request_id!r} is already running")
        self._send(Add(request_id, params))
        events = self._requests[request_id] = _Events(CostModel(self.info).request_cost(params))
        self.load += events.cost
        return events

    def abort(self, request_id: str) -> None:
        if request_id in self._requests:
            self._send(Abort(request_id))

    def drain(self) -> None:
        self._is_draining = True
        self._send(Drain())

    def deliver(self, event: RequestEvent) -> None:
        events = self._requests.get(event.request_id)
        if events is None:
            return
        events.put(event)
        if events.has_ended:
            del self._requests[event.request_id]
            self.load = sum(events.cost for events in self._requests.values())

    def lose(self) -> None:
        """The worker is gone."""
        for request_id in list(self._requests):
            message = "The worker that was painting this image stopped. Please try again."
            self.deliver(Failed(request_id, "worker_lost", message))

    def _send(self, command: Command) -> None:
        self._writer.write(wire.encode(command))


class _Events(AsyncIterator[RequestEvent]):
    """The events of one request, for one reader."""

    def __init__(self, cost: float) -> None:
        self.cost = cost
        self.has_ended = False
        self._events: deque[RequestEvent] = deque()
        self._changed = asyncio.Event()

    def put(self, event: RequestEvent) -> None:
        if self._events and isinstance(self._events[-1], Preview):
            self._events.pop()  # a newer picture takes its place
        self._events.append(event)
        self.has_ended = isinstance(event, Finished | Failed | Cancelled)
        self._changed.set()

    async def __anext__(self) -> RequestEvent:
        while not self._events:
            if self.has_ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._events.popleft()
