"""Which requests run next. Pure: no clock, no thread, no device of its own."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from scheduler.cost import CostModel
from scheduler.engine import RequestOutput
from scheduler.request import GenerateParams, Request, Status, batch_key


@dataclass(slots=True, eq=False)
class Group:
    """The requests of one key. `served` is the level of work it was given, in row-pixels (see `StepScheduler`)."""

    waiting: deque[Request] = field(default_factory=deque)
    running: list[Request] = field(default_factory=list)
    served: float = 0.0

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting or self.running)


class Scheduler(ABC):
    """Owns every live request, waiting or running, and is the only writer of their status and progress."""

    def __init__(self) -> None:
        self.num_running = 0
        self._requests: dict[str, Request] = {}
        self._groups: dict[Hashable, Group] = {}

    @property
    def num_waiting(self) -> int:
        return len(self._requests) - self.num_running

    @property
    def is_idle(self) -> bool:
        return not self._requests

    @property
    def live_requests(self) -> Sequence[Request]:
        return list(self._requests.values())

    def add(self, request: Request) -> None:
        if request.id in self._requests:
            raise ValueError(f"a request with the id {request.id!r} is already here")
        self._requests[request.id] = request
        self._groups.setdefault(self._key(request.params), Group()).waiting.append(request)

    def abort(self, request_id: str) -> Request | None:
        """Takes the request out, waiting or running; None when it is not here (it has ended, or never was)."""
        request = self._requests.get(request_id)
        if request is not None:
            self._end(request, Status.ABORTED)
        return request

    @abstractmethod
    def schedule(self, now: float) -> Sequence[Request]:
        """The batch to run next, all of it RUNNING; empty when nothing can run yet. `now` in monotonic seconds."""

    @abstractmethod
    def seconds_to_next(self, now: float) -> float | None:
        """How long until `schedule` has a batch, if nothing arrives: 0 for at once, None for never."""

    def postprocess(self, outputs: Sequence[RequestOutput]) -> list[Request]:
        """Writes the progress down and returns the requests that ended with it."""
        live = [result for result in outputs if result.request.status is Status.RUNNING]
        for result in live:
            result.request.steps_done = result.steps_done
            if result.error is not None:
                self._end(result.request, Status.FAILED)
            elif result.image is not None:
                self._end(result.request, Status.FINISHED)
        return [result.request for result in live if not result.request.is_live]

    def fail(self, requests: Iterable[Request]) -> list[Request]:
        """Ends those that are still live and returns them."""
        failed = [request for request in requests if request.is_live]
        for request in failed:
            self._end(request, Status.FAILED)
        return failed

    @staticmethod
    @abstractmethod
    def _key(params: GenerateParams) -> Hashable:
        """Requests with equal keys can share a batch."""

    def _start(self, group: Group, now: float) -> Request:
        request = group.waiting.popleft()
        request.status = Status.RUNNING
        request.started_at = now
        group.running.append(request)
        self.num_running += 1
        return request

    def _end(self, request: Request, status: Status) -> None:
        group = self._groups[self._key(request.params)]
        if request.status is Status.RUNNING:
            group.running.remove(request)
            self.num_running -= 1
        else:
            group.waiting.remove(request)
        request.status = status
        del self._requests[request.id]


class StepScheduler(Scheduler):
    """Requests join and leave between denoising steps.

    There is one running group per batch key, and a step serves one group: the one served least so far. `served` is its
    level in row-pixels; a group that becomes busy enters at the current minimum, or at its own level if that is higher
    (so leaving and coming back gains nothing). All levels thus stay within one step of each other: between two steps
    of a busy group, another group takes at most 1 + (cost of the dearest step / cost of its own cheapest step) steps.

    `max_rows` bounds the UNet call, so it holds for each group by itself: a group that rests keeps only its latents,
    about 0.1 MB a request. No key can thus be kept out by another key's running requests.

    Inside a group requests start first come, first served. A head that needs two rows where one is free waits for the
    second: whoever overtook it there could keep it waiting for ever, and one idle row for a few steps is cheap.
    """

    def __init__(self, cost: CostModel) -> None:
        super().__init__()
        self._cost = cost
        self._minimum = 0.0  # the level of the group served last, before that step

    def add(self, request: Request) -> None:
        super().add(request)
        group = self._groups[self._key(request.params)]
        if len(group.waiting) == 1 and not group.running:
            group.served = max(group.served, self._minimum)

    def schedule(self, now: float) -> Sequence[Request]:
        busy = [group for group in self._groups.values() if group.is_busy]
        if not busy:
            return []
        group = min(busy, key=lambda group: group.served)
        self._minimum = group.served
        self._refill(group, now)
        group.served += self._cost.step_seconds(_num_rows(group.running), group.running[0].params.pixels)
        self._forget_idle_groups()
        return list(group.running)

    def seconds_to_next(self, now: float) -> float | None:  # noqa: ARG002 - time plays no part in step mode
        return None if self.is_idle else 0.0

    _key = staticmethod(batch_key)

    def _refill(self, group: Group, now: float) -> None:
        num_rows = _num_rows(group.running)
        some = (group.running or group.waiting)[0]
        max_rows = self._cost.max_rows(some.params.pixels)
        while group.waiting and num_rows + group.waiting[0].params.num_rows <= max_rows:
            num_rows += self._start(group, now).params.num_rows

    def _forget_idle_groups(self) -> None:
        """An idle group at or below the minimum would come back at the minimum anyway."""
        for key, group in list(self._groups.items()):
            if not group.is_busy and group.served <= self._minimum:
                del self._groups[key]


def _num_rows(requests: Iterable[Request]) -> int:
    return sum(request.params.num_rows for request in requests)
