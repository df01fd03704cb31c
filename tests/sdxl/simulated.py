"""A device with a program beside it, in simulated time: for tests of when the loop does what."""

import queue
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from scheduler.cost import CostModel
from scheduler.engine import OnStep, RequestOutput, StepOutput
from scheduler.fake_engine import picture
from scheduler.loop import Inbox, Loop
from scheduler.messages import Abort, Drain
from scheduler.outbox import FinalPicture, Outgoing, PreviewPicture
from scheduler.request import Request
from scheduler.scheduler import StepScheduler
from scheduler.sdxl.pace import Kind, Pace
from tests.info import make_info


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Mark:
    def __init__(self, device: "Device") -> None:
        self.reached_at = device.free_at
        self._device = device

    def query(self) -> bool:
        self._device.check()
        return self._device.clock.now >= self.reached_at

    def synchronize(self) -> None:
        self._device.check()
        self._device.clock.now = max(self._device.clock.now, self.reached_at)

    def elapsed_time(self, end_event: Any) -> float:
        assert self.query()
        assert end_event.query()
        milliseconds: float = (end_event.reached_at - self.reached_at) * 1000
        return milliseconds


class Span(NamedTuple):
    """When something was computed."""

    began_at: float
    ended_at: float


class Device:
    """Computes what it is given in order; a step's first kernels run while its last ones are still put in line."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.is_lost = False
        self.spans: list[Span] = []

    @property
    def free_at(self) -> float:
        """When it has done all that it was given by now."""
        return max([self.clock.now, *(span.ended_at for span in self.spans[-1:])])

    def compute(self, seconds: float, launch_seconds: float) -> None:
        """Returns when the program has launched it."""
        began_at = self.free_at
        self.clock.now += launch_seconds
        self.spans.append(Span(began_at, max(began_at + seconds, self.clock.now)))

    def mark(self) -> Mark:
        return Mark(self)

    def check(self) -> None:
        if self.is_lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def idle_seconds(self, since: int = 1) -> float:
        """Before the steps from that number on, counted from 0."""
        pairs = zip(self.spans[since - 1 :], self.spans[since:], strict=False)
        return sum(later.began_at - earlier.ended_at for earlier, later in pairs)


class SimulatedEngine:
    """Its steps take `step_seconds` of the device and `launch_seconds` of the program.

    Previews and pictures are ready when their step is. `batches` are the ids of the requests in each step.
    """

    info = make_info()

    def __init__(self, device: Device, step_seconds: float, launch_seconds: float) -> None:
        self.step_seconds = step_seconds
        self.launch_seconds = launch_seconds
        self.batches: list[list[str]] = []
        self._device = device
        self._pace = Pace(device.mark, device.clock.monotonic)
        self._steps_done: dict[Request, int] = {}
        self._underway: deque[tuple[Mark, RequestOutput]] = deque()

    def expect(self, requests: Sequence[Request]) -> None:
        """There is nothing to prepare."""

    def run(self, batch: Sequence[Request], on_step: OnStep) -> None:
        self._pace.begin()
        self._device.compute(self.step_seconds, self.launch_seconds)
        kind = Kind(num_rows=2, pixels=batch[0].params.pixels)
        self._pace.end(kind)
        self.batches.append([request.id for request in batch])
        on_step(StepOutput([self._advance(request) for request in batch], kind.num_rows, self._pace.seconds(kind)))

    def seconds_to_spare(self) -> float:
        return self._pace.seconds_to_spare()

    def collect(self, *, wait: bool) -> Sequence[RequestOutput]:
        assert not wait
        outputs = []
        while self._underway and self._underway[0][0].query():
            outputs.append(self._underway.popleft()[1])
        return outputs

    def release(self, request: Request) -> None:
        self._steps_done.pop(request, None)

    def _advance(self, request: Request) -> RequestOutput:
        params = request.params
        self._steps_done[request] = steps_done = self._steps_done.get(request, 0) + 1
        shown = picture(params, steps_done)
        untold = RequestOutput(request, steps_done)
        is_done = steps_done == params.num_steps
        told = replace(untold, image=shown) if is_done else replace(untold, preview=shown)
        self._underway.append((self._device.mark(), told))
        return untold


class Timeline:
    """An inbox whose items arrive when it is time. Whoever waits for one lets the time pass."""

    def __init__(self, clock: Clock, arrivals: Sequence[tuple[float, Request | Abort | Drain]]) -> None:
        self._clock = clock
        self._arrivals = deque(sorted(arrivals, key=lambda arrival: arrival[0]))

    def get(self, timeout: float | None) -> Request | Abort | Drain:
        next_at = self._arrivals[0][0] if self._arrivals else None
        if next_at is None or (timeout is not None and next_at > self._clock.now + timeout):
            assert timeout is not None, "it would wait for ever"
            self._clock.now += timeout
            raise queue.Empty
        self._clock.now = max(self._clock.now, next_at)
        return self._arrivals.popleft()[1]


class Told(NamedTuple):
    at: float
    item: Outgoing


class Simulation:
    """The real loop and scheduler, on such a device. `told` is what the loop emitted, and when."""

    def __init__(self, clock: Clock, step_seconds: float, launch_seconds: float) -> None:
        self.told: list[Told] = []
        self.clock = clock
        self.device = Device(clock)
        self.engine = SimulatedEngine(self.device, step_seconds, launch_seconds)

    def run(self, arrivals: Sequence[tuple[float, Request | Abort]]) -> None:
        """Until all that arrives has ended; when it does, in seconds from now."""
        last = max(at for at, _ in arrivals)
        timed = [(self.clock.now + at, item) for at, item in [*arrivals, (last, Drain())]]
        inbox = cast("Inbox", Timeline(self.clock, timed))
        Loop(self.engine, StepScheduler(CostModel(make_info())), inbox, self._emit).run()

    def pictures(self) -> dict[tuple[str, int], float]:
        """When a preview after so many steps, or the picture, was told of."""
        shown: dict[tuple[str, int], float] = {}
        for at, item in self.told:
            if isinstance(item, PreviewPicture):
                shown[item.request.id, item.step] = at
            elif isinstance(item, FinalPicture):
                shown[item.request.id, item.request.params.num_steps] = at
        return shown

    def _emit(self, items: Sequence[Outgoing]) -> None:
        self.told += [Told(self.clock.now, item) for item in items]
