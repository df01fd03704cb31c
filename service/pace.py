"""How fast the workers are, measured from their steps, so that waits can be told in seconds."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from scheduler.messages import StepStats

SMOOTHING = 0.1  # the weight of the newest step


@dataclass(slots=True)
class _Worker:
    pixels_per_second: float
    step_seconds: float
    reported_at: float
    was_busy: bool


@dataclass(slots=True)
class Pace:
    """The speed of all workers together. `clock` gives monotonic seconds."""

    clock: Callable[[], float] = time.monotonic
    _workers: dict[str, _Worker] = field(default_factory=dict)

    def observe(self, name: str, stats: StepStats) -> None:
        """Takes in one step of a worker.

        It took the time since the last one if the worker was busy all along, else what it says itself.
        """
        now, known = self.clock(), self._workers.get(name)
        seconds = max(now - known.reported_at if known and known.was_busy else stats.duration, 1e-6)
        rate = stats.useful_pixels / seconds
        if known is None:
            known = self._workers[name] = _Worker(rate, seconds, now, was_busy=False)
        known.pixels_per_second += SMOOTHING * (rate - known.pixels_per_second)
        known.step_seconds += SMOOTHING * (seconds - known.step_seconds)
        known.reported_at = now
        known.was_busy = stats.running > 0

    def seconds_for(self, row_pixels: float) -> float | None:
        """Time for so many UNet rows x steps x pixels; None before the first step of all."""
        rate = sum(worker.pixels_per_second for worker in self._workers.values())
        return row_pixels / rate if rate else None

    @property
    def step_seconds(self) -> float | None:
        """Time between two steps of one request; None before the first step of all."""
        if not self._workers:
            return None
        return sum(worker.step_seconds for worker in self._workers.values()) / len(self._workers)
