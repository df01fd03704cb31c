"""Where the time of a step goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from torch.profiler import record_function


class Stopwatch:
    """Seconds of the program's time by stage. On an accelerator work is only queued, and what it takes shows elsewhere.

    PyTorch's profiler sees the stages by the same names.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.stages: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self._started

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        with record_function(name):
            yield
        self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - started
