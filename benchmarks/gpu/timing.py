"""Times of work on a device: by its own clock where it has one, warm, and by turns."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

cuda: Any = torch.cuda  # partly untyped

Work = Callable[[], object]

LEAST_SECONDS = 0.2
"""That one figure is taken over, so that neither clock nor launch shows in it."""
MOST_CALLS = 100


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_a_call(work: Work, calls: int, device: torch.device) -> float:
    """Of `calls` in a row. On CUDA between two events, gaps included in which the device waits for the program."""
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(calls):
            work()
        return (time.perf_counter() - began) / calls
    first, last = (cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(calls):
        work()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000 / calls


def warmed_calls(work: Work, device: torch.device, least_seconds: float = LEAST_SECONDS) -> int:
    """How many calls last so long. The first two, in which libraries choose their kernels, do not count."""
    for _ in range(2):
        work()
    synchronize(device)
    seconds = seconds_a_call(work, 1, device)
    return min(MOST_CALLS, max(1, round(least_seconds / max(seconds, 1e-9))))


def interleaved(
    works: Mapping[str, Work], rounds: int, device: torch.device, least_seconds: float = LEAST_SECONDS
) -> dict[str, list[float]]:
    """Seconds a call of each, one figure a round; they take turns, every second round backwards."""
    calls = {name: warmed_calls(work, device, least_seconds) for name, work in works.items()}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        for name in list(works) if number % 2 == 0 else list(works)[::-1]:
            seconds[name].append(seconds_a_call(works[name], calls[name], device))
    return seconds
