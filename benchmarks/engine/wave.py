"""Requests that start together and end together."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.engine.workbench import Workbench
from scheduler.messages import Finished
from scheduler.request import GenerateParams


@dataclass(frozen=True, slots=True)
class Wave:
    """`seconds` last from the first request's sending to the last picture's arrival."""

    seconds: float
    finished: Sequence[Finished]

    @property
    def latencies(self) -> list[float]:
        """Seconds from each request's arrival to its encoded picture."""
        return [each.timings["total"] for each in self.finished]


def run_wave(bench: Workbench, params: GenerateParams, count: int) -> Wave:
    began = time.perf_counter()
    for _ in range(count):
        bench.submit(params)
    finished = bench.run_out()
    return Wave(time.perf_counter() - began, finished)
