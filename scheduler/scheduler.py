"""Which requests run next. Pure: no clock, no thread, no device of its own."""

import itertools
from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush, merge
from operator import attrgetter

from scheduler.cost import CostModel
from scheduler.engine import RequestOutput
from scheduler.request import GenerateParams, Request, Status, batch_key, queue_rank

_rank = attrgetter("rank")


@dataclass(slots=True, eq=False)
class Group:
    """The requests of one key: those that wait in order of rank, those that run in the order in which they started.

    `num_rows` counts those of all of them. `level` tells how much the group was served (see `StepScheduler`).
    """

    waiting: list[Request] = field(default_factory=list)
    running: list[Request] = field(default_factory=list)
    num_rows: int = 0
    level: float = 0.0

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting or self.running)

    @property
    def pixels(self) -> int:
        """Of each of its requests."""
        return (self.running or self.waiting)[0].params.pixels

    def put(self, request: Request) -> None:
        self.num_rows += request.params.num_rows
        insort(self.waiting, request, key=_rank)

    def start(self, request: Request) -> None:
        self.num_rows += request.params.num_rows
        self.running.append(request)

    def drop(self, request: Request) -> None:
        self.num_rows -= request.params.num_rows
        if request.status is Status.RUNNING:
            self.running.remove(request)
        else:
            del self.waiting[bisect_left(self.waiting, request.rank, key=_rank)]


class Scheduler(ABC):
    """Owns every live request, and is the only writer of their status and progress.

    Requests that wait start in the order of their ranks: the number of a request's arrival, less `AGEING` for each
    level of its priority. So a request is overtaken by fewer than `AGEING` x (difference of priorities) that came
    later, however many come; nobody starves, and no clock is needed.
    """

    def __init__(self, cost: CostModel) -> None:
        self._cost = cost
        self._requests: dict[str, Request] = {}
        self._groups: dict[Hashable, Group] = {}
        self._counts: Counter[Status] = Counter()
        self._numbers = itertools.count()
        self._checks: list[tuple[float, str]] = []  # a heap: when to see whether a request is still in time

    @property
    def num_waiting(self) -> int:
        return self._counts[Status.WAITING]

    @property
    def num_running(self) -> int:
        return self._counts[Status.RUNNING]

    @property
    def num_decoding(self) -> int:
        return self._counts[Status.DECODING]

    @property
    def is_idle(self) -> bool:
        return not self._requests

    @property
    def live_requests(self) -> Sequence[Request]:
        return list(self._requests.values())

    def next_waiting(self, most: int) -> list[Request]:
        """Those that will start first, if all groups had the same room."""
        waiting = merge(*(group.waiting for group in self._groups.values()), key=_rank)
        return list(itertools.islice(waiting, most))

    def add(self, request: Request) -> None:
        if request.id in self._requests:
            raise ValueError(f"a request with the id {request.id!r} is already here")
        number = next(self._numbers)
        request.rank = queue_rank(number, request.params)
        self._requests[request.id] = request
        self._counts[Status.WAITING] += 1
        self._line_up(request)
        self._check_later(request)

    def abort(self, request_id: str) -> Request | None:
        """Takes the request out, whatever its state; None when it is not here (it has ended, or never was)."""
        request = self._requests.get(request_id)
        if request is not None:
            self._move(request, Status.ABORTED)
        return request

    def expire(self, now: float) -> list[Request]:
        """Ends and returns those that are out of time. `now` in monotonic seconds.

        Their deadline has passed, or they wait and could not be done by then even alone.
        """
        expired = []
        while self._checks and self._checks[0][0] <= now:
            request = self._requests.get(heappop(self._checks)[1])
            if request is None:
                continue  # it ended in time
            if self._is_late(request, now):
                self._move(request, Status.FAILED)
                expired.append(request)
            else:
                self._check_later(request)
        return expired

    @abstractmethod
    def schedule(self, now: float) -> Sequence[Request]:
        """The batch to run next, all of it RUNNING; empty when nothing can run yet. `now` in monotonic seconds."""

    @abstractmethod
    def seconds_to_next(self, now: float) -> float | None:
        """How long until `schedule` has a batch, if nothing arrives: 0 for at once, None for never."""

    def postprocess(self, outputs: Iterable[RequestOutput]) -> list[RequestOutput]:
        """Writes the progress down, and returns the outputs that have something to tell, in order.

        A request that made its last step and has no picture yet goes on as DECODING. Nothing is told of requests that
        have ended, nor a preview that is older than one told before.
        """
        return [output for output in outputs if self._take(output)]

    def fail(self, request: Request) -> bool:
        """Ends it, and says whether it was still live."""
        was_live = request.is_live
        if was_live:
            self._move(request, Status.FAILED)
        return was_live

    def isolate(self, batch: Iterable[Request]) -> list[Request]:
        """Starts those that run afresh, each in batches of its own from now on, and returns them.

        One of them broke the batch, and how far the others came in that step is unknown.
        """
        suspects = [request for request in batch if request.status is Status.RUNNING]
        for request in suspects:
            self._move(request, Status.WAITING)
            request.is_suspect = True
            request.steps_done = 0
            self._line_up(request)
        return suspects

    def max_rows(self, pixels: int) -> int:
        """The cap on a batch of that size."""
        return self._cost.max_rows(pixels)

    def limit_rows(self, pixels: int, num_rows: int) -> None:
        """No more rows of that size fit into memory, and of larger ones in proportion."""
        self._cost.limit_rows(pixels, num_rows)

    @staticmethod
    @abstractmethod
    def _key(params: GenerateParams) -> Hashable:
        """Requests with equal keys can share a batch."""

    def _group(self, request: Request) -> Group:
        key = request.id if request.is_suspect else self._key(request.params)
        return self._groups.setdefault(key, Group())

    def _line_up(self, request: Request) -> None:
        self._group(request).put(request)

    def _start(self, request: Request, now: float) -> None:
        group = self._group(request)
        self._move(request, Status.RUNNING)
        group.start(request)
        if request.started_at is None:
            request.started_at = now

    def _forget_idle_groups(self) -> None:
        for key in [key for key, group in self._groups.items() if not group.is_busy]:
            del self._groups[key]

    def _move(self, request: Request, status: Status) -> None:
        """From one status to another, out of its group's lists."""
        if request.status is not Status.DECODING:
            self._group(request).drop(request)
        self._counts[request.status] -= 1
        request.status = status
        if request.is_live:
            self._counts[status] += 1
        else:
            del self._requests[request.id]

    def _take(self, output: RequestOutput) -> bool:
        request = output.request
        if request.status not in (Status.RUNNING, Status.DECODING):
            return False
        request.steps_done = max(request.steps_done, output.steps_done)
        if output.error is not None:
            self._move(request, Status.FAILED)
        elif output.image is not None:
            self._move(request, Status.FINISHED)
        elif request.status is Status.RUNNING and request.steps_done == request.params.num_steps:
            self._move(request, Status.DECODING)
        return not request.is_live or _shows_more(output)

    def _check_later(self, request: Request) -> None:
        if request.deadline_at is not None:
            heappush(self._checks, (request.deadline_at - self._seconds_needed(request), request.id))

    def _is_late(self, request: Request, now: float) -> bool:
        return request.deadline_at is not None and request.deadline_at - self._seconds_needed(request) <= now

    def _seconds_needed(self, request: Request) -> float:
        """Until it ends, at the least; a request that has started is given until its deadline."""
        return self._cost.seconds_alone(request.params) if request.status is Status.WAITING else 0.0


def _shows_more(output: RequestOutput) -> bool:
    """Whether it has a preview that is newer than those before, and notes it."""
    if output.preview is None or output.steps_done <= output.request.steps_shown:
        return False
    output.request.steps_shown = output.steps_done
    return True


class StepScheduler(Scheduler):
    """Requests join and leave between denoising steps.

    There is one running group per batch key. A step serves one group, that of the lowest level, and raises its level by
    a charge. A full batch is charged 1; one with few rows, where a row is dear, up to `DEAREST_TURN`, so that it comes
    less often, and meanwhile more requests may join it. Where those that run and those that wait would fill several
    batches, the charge is shared by as many, up to `MOST_SHARES`: a size that many ask for gets more turns than one
    that few ask for, and all wait about as long. (With as many turns for every size, those of the commonest would wait
    several times longer than others, and batches of the others would never fill. Equal shares of the device for every
    row would make large sizes, and sizes that few ask for, several times slower than others.)

    A group that becomes busy enters at the level that the one served last has reached. So between two steps of a busy
    group, and before its first, every other group takes 1 + `DEAREST_TURN` x `MOST_SHARES` steps at most; and where no
    more than n are busy at once, they take (n - 1) times as many together, however many come and go.

    The batch cap holds for each group by itself: a group that rests keeps only its requests' latents and last two
    predictions, 0.8 MB a request of 1024x1024, and the embeddings of their prompts. No size can thus be kept out by
    another's running requests. A head that needs two rows where one is free waits for the second: whoever overtook it
    there could keep it waiting for ever, and one idle row for a few steps is cheap. Where the cap was lowered below
    what runs, those that started last rest until there is room.
    """

    def __init__(self, cost: CostModel) -> None:
        super().__init__(cost)
        self._entry = 0.0  # the level at which a group enters: what the one served last has reached

    def schedule(self, now: float) -> Sequence[Request]:
        self._forget_idle_groups()
        if not self._groups:
            return []
        group = min(self._groups.values(), key=lambda group: group.level)
        batch = self._fill(group, now)
        group.level += self._cost.turn_charge(_num_rows(batch), group.num_rows, group.pixels)
        self._entry = group.level
        return batch

    def seconds_to_next(self, now: float) -> float | None:  # noqa: ARG002 - time plays no part in step mode
        return 0.0 if self.num_waiting or self.num_running else None

    _key = staticmethod(batch_key)

    def _line_up(self, request: Request) -> None:
        group = self._group(request)
        if not group.is_busy:
            group.level = self._entry
        super()._line_up(request)

    def _fill(self, group: Group, now: float) -> list[Request]:
        """Those that run, and then those that wait, as far as rows go."""
        batch = list(_that_fit(itertools.chain(group.running, group.waiting), self.max_rows(group.pixels)))
        for request in batch:
            if request.status is Status.WAITING:
                self._start(request, now)
        return batch


def _num_rows(requests: Iterable[Request]) -> int:
    return sum(request.params.num_rows for request in requests)


def _that_fit(requests: Iterable[Request], max_rows: int) -> Iterator[Request]:
    """The first ones, until the next would be one too many."""
    num_rows = 0
    for request in requests:
        num_rows += request.params.num_rows
        if num_rows > max_rows:
            return
        yield request
