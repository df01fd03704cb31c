"""Where requests stand in their workers' queues, and when they will be finished."""

import math
import time
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from scheduler.cost import CostModel
from scheduler.messages import ModelInfo, Ready, Report, StepStats
from scheduler.request import BatchKey, GenerateParams, batch_key, queue_rank
from service.forecast import Work, forecast_calls, forecast_steps
from service.pace import Pace

HOLD_SECONDS = 1e-4  # how long a forecast holds for each request in it, some 20 times as long as it takes to make
SHORT_QUEUE = 50  # requests ahead that are played through for one question alone

Clock = Callable[[], float]


class Estimates:
    """Follows the requests of every worker, by what the service sends and hears; its guesses are in seconds from now.

    They count denoising steps, by the worker's calibration and corrected by its pace; decoding and encoding show as a
    slower pace. A forecast takes time with every request in it, so one of many requests holds for a while, and what
    comes meanwhile is guessed from it: together, such forecasts take about a twentieth of the time, whoever asks.
    `clock` gives monotonic seconds.
    """

    def __init__(self, call_batch: int, clock: Clock = time.monotonic) -> None:
        self._call_batch = call_batch
        self._clock = clock
        self._queues: dict[str, _Queue] = {}  # by worker
        self._homes: dict[str, _Queue] = {}  # by request

    def observe_report(self, worker: str, report: Report) -> None:
        if isinstance(report, Ready):
            self._queues[worker] = _Queue(report.info, self._call_batch, self._clock)
        elif isinstance(report, StepStats):
            self._queues[worker].count_step(report)

    def add(self, worker: str, request_id: str, params: GenerateParams) -> None:
        """The request was sent to that worker."""
        self._homes[request_id] = self._queues[worker]
        self._homes[request_id].add(request_id, params)

    def start(self, request_id: str) -> None:
        """It is in its worker's batch now."""
        self._homes[request_id].start(request_id)

    def progress(self, request_id: str, step: int) -> None:
        """So many steps of the request are known to be made."""
        self._homes[request_id].progress(request_id, step)

    def end(self, request_id: str) -> None:
        """Without effect for one that has ended before."""
        if queue := self._homes.pop(request_id, None):
            queue.end(request_id)

    def position(self, request_id: str) -> int | None:
        """How many requests will start before it; None once it has started."""
        queue = self._homes.get(request_id)
        return None if queue is None else queue.position(request_id)

    def seconds_left(self, request_id: str) -> float | None:
        """Until the request is finished; None when it has ended."""
        queue = self._homes.get(request_id)
        return None if queue is None else queue.seconds_left(request_id)

    def seconds_with(self, worker: str, params: GenerateParams, count: int) -> float:
        """Until the last of `count` more such requests would be finished, if that worker got them now."""
        return self._queues[worker].seconds_with(params, count)

    def seconds_for(self, cost: float, workers: Iterable[str]) -> float:
        """In which these workers together get so much work done."""
        rates = [1 / self._queues[worker].seconds_for(1.0) for worker in workers]
        return cost / sum(rates)


@dataclass(slots=True)
class _Place:
    """A request's: `step` are those known to be made when its worker had made `counted` steps of the request's size."""

    params: GenerateParams
    rank: tuple[int, int]
    step: int = 0
    counted: int | None = None  # None: it has not started


class _Queue:
    """One worker's requests."""

    def __init__(self, info: ModelInfo, call_batch: int, clock: Clock) -> None:
        self._info = info
        self._call_batch = call_batch
        self._clock = clock
        self._costs = CostModel(info)
        self._pace = Pace()
        self._stepped_at: float | None = None  # None: it rests
        self._steps: Counter[int] = Counter()  # by pixels
        self._count = 0  # of the requests that ever came
        self._places: dict[str, _Place] = {}
        self._running: dict[str, _Place] = {}  # in order of their start
        self._waiting: list[tuple[tuple[int, int], str]] = []  # by rank
        self._forecast: dict[str, float] = {}  # by the clock
        self._forecast_at = -math.inf
        self._latest: dict[BatchKey, float] = {}  # the forecast of the last request of each size

    def count_step(self, stats: StepStats) -> None:
        """It took the time since the last one, or what it says itself if the worker rested meanwhile."""
        now, num_rows = self._clock(), stats.num_rows + stats.padded_rows
        if num_rows == 0:
            return  # all of the batch failed
        pixels = (stats.useful_pixels + stats.padded_pixels) // num_rows
        taken = stats.duration if self._stepped_at is None else now - self._stepped_at
        self._pace.observe(self._costs.step_seconds(num_rows, pixels), taken)
        self._stepped_at = now if stats.running or stats.waiting else None
        self._steps[pixels] += 1
        if stats.max_rows < self._costs.max_rows(pixels):  # memory ran out since the calibration
            self._costs.limit_rows(pixels, stats.max_rows)

    def add(self, request_id: str, params: GenerateParams) -> None:
        place = self._places[request_id] = _Place(params, queue_rank(self._count, params))
        insort(self._waiting, (place.rank, request_id))
        self._count += 1

    def start(self, request_id: str) -> None:
        place = self._running[request_id] = self._places[request_id]
        place.counted = self._steps[place.params.pixels]
        self._leave_queue(request_id)

    def progress(self, request_id: str, step: int) -> None:
        place = self._places[request_id]
        place.step, place.counted = step, self._steps[place.params.pixels]

    def end(self, request_id: str) -> None:
        if self._running.pop(request_id, None) is None:
            self._leave_queue(request_id)
        del self._places[request_id]

    def position(self, request_id: str) -> int | None:
        return None if request_id in self._running else self._index(request_id)

    def seconds_left(self, request_id: str) -> float:
        if not self._is_fresh:
            self._refresh()
        if request_id not in self._forecast:
            params = self._places[request_id].params
            self._forecast[request_id] = self._latest[batch_key(params)] = self._guess(params)
        return max(0.0, self._forecast[request_id] - self._clock())

    def seconds_with(self, params: GenerateParams, count: int) -> float:
        place = len(self._running) + bisect_left(self._waiting, (queue_rank(self._count, params), ""))
        is_last = place == len(self._places)
        if place <= SHORT_QUEUE and not (is_last and self._is_fresh):
            return self._play_with(params, count, place)
        if not self._is_fresh:
            self._refresh()
        return self._guess(params, count) - self._clock()

    def _play_with(self, params: GenerateParams, count: int, place: int) -> float:
        """With those before them, and as many after as matter for a while."""
        more = [Work(f"more {index}", params, params.num_steps) for index in range(count)]
        works = list(islice(self._works(), place + SHORT_QUEUE))
        works[place:place] = more
        seconds = self._foresee(works)
        return self._pace.ratio * max(seconds[work.request_id] for work in more)

    def seconds_for(self, cost: float) -> float:
        return self._pace.ratio * self._costs.seconds_for(cost)

    @property
    def _is_fresh(self) -> bool:
        return self._clock() - self._forecast_at < HOLD_SECONDS * len(self._forecast)

    def _refresh(self) -> None:
        now, ratio, works = self._clock(), self._pace.ratio, list(self._works())
        seconds = self._foresee(works)
        self._forecast = {request_id: now + ratio * each for request_id, each in seconds.items()}
        self._forecast_at = now
        self._latest = {batch_key(work.params): self._forecast[work.request_id] for work in works}

    def _guess(self, params: GenerateParams, count: int = 1) -> float:
        """For the last of so many that came after the forecast: by what they add to the work of their size."""
        latest, cost = self._latest.get(batch_key(params)), self._costs.request_cost(params)
        if latest is None:
            alone = self._pace.ratio * self._costs.seconds_alone(params)
            return self._clock() + alone + self.seconds_for((count - 1) * cost)
        return latest + self.seconds_for(count * cost)

    def _foresee(self, works: Sequence[Work]) -> dict[str, float]:
        if self._info.batching == "call":
            return forecast_calls(works, self._costs, self._call_batch)
        return forecast_steps(works, self._costs)

    def _works(self) -> Iterator[Work]:
        """What is left to do, in the order in which it started or will start."""
        for request_id, place in self._running.items():
            yield Work(request_id, place.params, place.params.num_steps - self._steps_done(place), is_running=True)
        for _, request_id in self._waiting:
            params = self._places[request_id].params
            yield Work(request_id, params, params.num_steps)

    def _steps_done(self, place: _Place) -> int:
        """Every step of its size since then was one of its own too."""
        assert place.counted is not None
        since = self._steps[place.params.pixels] - place.counted
        return min(place.step + since, place.params.num_steps)

    def _index(self, request_id: str) -> int:
        return bisect_left(self._waiting, (self._places[request_id].rank, request_id))

    def _leave_queue(self, request_id: str) -> None:
        del self._waiting[self._index(request_id)]
