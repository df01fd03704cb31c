"""Requests that never stop coming, in this process: a full batch, each request at a step of its own."""

import itertools
import time
from collections.abc import Sequence

import msgspec

from benchmarks.gpu.timing import synchronize
from scheduler.cost import CostModel
from scheduler.engine import RequestOutput, StepOutput
from scheduler.loop import COLLECT_SECONDS
from scheduler.request import GenerateParams, Request
from scheduler.scheduler import StepScheduler
from scheduler.sdxl.step_engine import StepEngine


class RollingError(Exception):
    """A request failed, so there is nothing to measure."""


class Rolling:
    """Keeps `count` requests like `params` going, their starts spread over `spread` steps.

    A picture is decoded and, as nothing follows, not encoded. When one ends, another request takes its place at once.
    """

    def __init__(self, engine: StepEngine, params: GenerateParams, count: int, spread: int) -> None:
        self._engine = engine
        self._params = params
        self._count = 0
        self._scheduler = StepScheduler(CostModel(engine.info))
        self._numbers = itertools.count()
        for index in range(count):
            self._count += 1
            self._turn_often(spread * (index + 1) // count - spread * index // count)

    def run(self, num_turns: int) -> float:
        """Seconds of so many steps of the batch, with all that was put beside them."""
        synchronize(self._engine.model.device)
        began = time.perf_counter()
        self._turn_often(num_turns)
        synchronize(self._engine.model.device)
        return time.perf_counter() - began

    def stop(self) -> None:
        """Waits for what is being made, and forgets the requests."""
        while made := self._engine.collect(wait=True):
            self._take(made)
        for request in self._scheduler.live_requests:
            self._engine.release(request)

    def _turn_often(self, times: int) -> None:
        for _ in range(times):
            self._wait()
            self._refill()
            self._engine.run(self._scheduler.schedule(time.monotonic()), self._on_step)
            self._take(self._engine.collect(wait=False))

    def _wait(self) -> None:
        """As the engine loop does, until it is time for the next step."""
        while seconds := self._engine.seconds_to_spare():
            time.sleep(min(seconds, COLLECT_SECONDS))
            self._take(self._engine.collect(wait=False))

    def _refill(self) -> None:
        for _ in range(self._count - self._scheduler.num_running - self._scheduler.num_waiting):
            number = next(self._numbers)
            self._scheduler.add(Request(f"rolling-{number}", msgspec.structs.replace(self._params, seed=number)))

    def _on_step(self, step: StepOutput) -> None:
        self._take(step.outputs)

    def _take(self, outputs: Sequence[RequestOutput]) -> None:
        if error := next((each.error for each in outputs if each.error is not None), None):
            raise RollingError(error)
        self._scheduler.postprocess(outputs)
        for each in outputs:
            if each.request.steps_done == self._params.num_steps:
                self._engine.release(each.request)
