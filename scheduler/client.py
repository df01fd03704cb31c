"""What the service holds: one client for all of its workers."""

from collections.abc import AsyncIterator, Callable

from scheduler.bell import Bell
from scheduler.cost import CostModel
from scheduler.link import Link
from scheduler.messages import (
    Abort,
    Add,
    Cancelled,
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

ENDS = (Finished, Failed, Cancelled)
ABOUT_ONE_REQUEST = (Preview, Started, *ENDS)


class NotReady(Exception):  # noqa: N818 - a state of the service, not a fault
    """No worker takes requests now."""


class Client:
    """Routes requests over the workers that are attached, and their events back."""

    def __init__(self, on_report: Callable[[str, Report], None] | None = None) -> None:
        self.on_report = on_report
        """Called with a worker's name and each of its reports that is not about one request."""
        self.info: ModelInfo | None = None
        """The model; None until the first worker is ready."""
        self.costs: CostModel | None = None
        """What it costs, as `info`."""
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
        it, it holds the newest only, unless `params` keeps them all. Raises NotReady.
        """
        return self._workers[self.next_worker()].add(request_id, params)

    def next_worker(self) -> str:
        """The name of the one that the next request goes to. Raises NotReady."""
        return min(self.ready_workers(), key=lambda name: self._workers[name].load)

    def ready_workers(self) -> list[str]:
        """The names of those that take requests. Raises NotReady where there are none."""
        ready = [name for name, worker in self._workers.items() if worker.is_ready]
        if not ready:
            raise NotReady("no worker is ready")
        return ready

    def abort(self, request_id: str) -> None:
        """Asks for the request to end soon, with Cancelled unless it ends otherwise first. Unknown ids are ignored."""
        for worker in self._workers.values():
            worker.abort(request_id)

    def drain(self, name: str) -> None:
        """Sends that worker nothing more, and lets it exit when it has finished what it has."""
        if name in self._workers:
            self._workers[name].drain()

    async def attach(self, name: str, link: Link, on_report: Callable[[Report], None] | None = None) -> None:
        """Runs the connection to a worker until it ends; requests that are still with the worker then fail.

        `on_report` is told what the client's own is told, of this worker.
        """
        worker = self._workers[name] = _Worker(link)
        try:
            while reports := await link.receive():
                for report in reports:
                    if isinstance(report, ABOUT_ONE_REQUEST):
                        worker.deliver(report)
                    else:
                        self._take_in(name, worker, report, on_report)
        finally:
            del self._workers[name]
            worker.lose()
            link.close()

    def _take_in(
        self, name: str, worker: "_Worker", report: Report, on_report: Callable[[Report], None] | None
    ) -> None:
        if isinstance(report, Ready):
            self.info = worker.info = report.info
            self.costs = worker.costs = CostModel(report.info)
        if on_report is not None:
            on_report(report)
        if self.on_report is not None:
            self.on_report(name, report)


class _Worker:
    """One worker, its connection and the requests it has."""

    def __init__(self, link: Link) -> None:
        self.info: ModelInfo | None = None
        self.costs: CostModel | None = None
        self.load = 0.0  # cost of the requests it has
        self._link = link
        self._is_draining = False
        self._requests: dict[str, _Events] = {}

    @property
    def is_ready(self) -> bool:
        return self.info is not None and not self._is_draining

    def add(self, request_id: str, params: GenerateParams) -> "_Events":
        assert self.costs is not None
        if request_id in self._requests:
            raise ValueError(f"a request with the id {request_id!r} is already running")
        self._link.send(Add(request_id, params))
        events = self._requests[request_id] = _Events(
            self.costs.request_cost(params), keeps_previews=params.keeps_previews
        )
        self.load += events.cost
        return events

    def abort(self, request_id: str) -> None:
        if request_id in self._requests:
            self._link.send(Abort(request_id))

    def drain(self) -> None:
        self._is_draining = True
        self._link.send(Drain())

    def deliver(self, event: RequestEvent) -> None:
        events = self._requests.get(event.request_id)
        if events is None:
            return
        events.put(event)
        if events.has_ended:
            del self._requests[event.request_id]
            self.load = self.load - events.cost if self._requests else 0.0

    def lose(self) -> None:
        """The worker is gone."""
        for request_id in list(self._requests):
            message = "The worker that was painting this image stopped. Please try again."
            self.deliver(Failed(request_id, "worker_lost", message))


class _Events(AsyncIterator[RequestEvent]):
    """The events of one request, for one reader."""

    def __init__(self, cost: float, *, keeps_previews: bool) -> None:
        self.cost = cost
        self.has_ended = False
        self._keeps_previews = keeps_previews
        self._events: list[RequestEvent] = []  # few: an empty deque is larger
        self._changed = Bell()

    def put(self, event: RequestEvent) -> None:
        if self._events and isinstance(self._events[-1], Preview) and not self._keeps_previews:
            self._events.pop()  # a newer picture takes its place
        self._events.append(event)
        self.has_ended = isinstance(event, ENDS)
        self._changed.ring()

    async def __anext__(self) -> RequestEvent:
        while not self._events:
            if self.has_ended:
                raise StopAsyncIteration
            await self._changed.wait()
        return self._events.pop(0)
