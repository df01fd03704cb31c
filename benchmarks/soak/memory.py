"""Memory of a server over time, and whether it grows."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import numpy as np
import psutil

from benchmarks.servers import MIB, Server


class MemorySample(msgspec.Struct, frozen=True):
    """Resident memory of the service's process and of all its children, `at` seconds from the start."""

    at: float
    service_mib: float
    worker_mib: float


class MemorySeries:
    """Samples a server until the block ends."""

    def __init__(self, server: Server, interval: float = 1.0) -> None:
        self.samples: list[MemorySample] = []
        self._process = server.process
        self._interval = interval
        self._started = time.perf_counter()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemorySeries":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        with suppress(psutil.NoSuchProcess):
            while True:
                self.samples.append(self._sample())
                if self._ended.wait(self._interval):
                    return

    def _sample(self) -> MemorySample:
        workers = sum(child.memory_info().rss for child in self._process.children(recursive=True))
        return MemorySample(time.perf_counter() - self._started, self._process.memory_info().rss / MIB, workers / MIB)


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """Of a line through the samples after the warm-up: MiB an hour, and over the time observed; the mean in MiB."""

    mib_an_hour: float
    mib: float
    mean_mib: float


def growth(times: Sequence[float], mib: Sequence[float], warm_up: float) -> Growth | None:
    """`warm_up` seconds are left out; None where fewer than two samples are left."""
    kept = [(at, value) for at, value in zip(times, mib, strict=True) if at >= warm_up]
    if len(kept) < 2:
        return None
    at, value = np.array(kept).T
    slope = float(np.polyfit(at, value, 1)[0])
    return Growth(mib_an_hour=slope * 3600, mib=slope * float(at[-1] - at[0]), mean_mib=float(value.mean()))
