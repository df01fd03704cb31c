"""What no step waits for: made at once, or in a stream beside the steps where the device has streams."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from scheduler.sdxl.streams import CudaStreams, Event, Streams

Work = Callable[[], Sequence[Tensor]]


class Made(Protocol):
    """Tensors that are being made, or are made already."""

    @property
    def seconds(self) -> float:
        """What it took; known when it is ready."""
        ...

    def is_ready(self) -> bool: ...

    def take(self) -> Sequence[Tensor]:
        """The tensors, on the CPU; waits for them."""
        ...


class Aside(Protocol):
    @property
    def most_chunks(self) -> int:
        """Of finished pictures, to begin before the first of them is ready."""
        ...

    def run(self, work: Work, reads: Tensor) -> Made:
        """Does `work`, which reads `reads` and weights. Raises what it raises at once, out of memory for one."""
        ...

    def mark(self) -> Event:
        """Reached when the device has done all that it was given for steps by now."""
        ...

    def free_memory(self) -> bool:
        """Gives back what memory it can. Whether there was work to wait for, which is done now."""
        ...


def choose_aside(device: torch.device) -> Aside:
    return SideStream(CudaStreams(device)) if device.type == "cuda" else Inline()


def between_steps(device: torch.device) -> Aside:
    """In the steps' own stream, if the device has streams: nothing contends, and a step waits for one chunk at most."""
    if device.type != "cuda":
        return Inline()
    return SideStream(CudaStreams(device, has_other=False), most_chunks=1)


@dataclass(frozen=True, slots=True)
class Done:
    tensors: Sequence[Tensor]
    seconds: float

    def is_ready(self) -> bool:
        return True

    def take(self) -> Sequence[Tensor]:
        return self.tensors


class Passed:
    """A mark where the program waits for all that it does."""

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        """There is nothing to wait for."""

    def elapsed_time(self, end_event: Any) -> float:  # noqa: ARG002 - of no time that is not the program's own
        return 0.0


class Inline:
    """Makes everything at once. On a CPU, a second thread would only take from the steps what it gives."""

    most_chunks = 1

    def run(self, work: Work, reads: Tensor) -> Done:  # noqa: ARG002 - there is nothing to keep it from
        started = time.perf_counter()
        tensors = [tensor.cpu() for tensor in work()]
        return Done(tensors, time.perf_counter() - started)

    def mark(self) -> Event:
        return Passed()

    def free_memory(self) -> bool:
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()
        return False


@dataclass(frozen=True, slots=True)
class Underway:
    """In the other stream between two marks."""

    tensors: Sequence[Tensor]
    began: Event
    ended: Event

    @property
    def seconds(self) -> float:
        return self.began.elapsed_time(self.ended) / 1000

    def is_ready(self) -> bool:
        return self.ended.query()

    def take(self) -> Sequence[Tensor]:
        self.ended.synchronize()
        return self.tensors


class SideStream:
    """Puts work into a stream beside the steps. What was put in first is ready first.

    One chunk of pictures is decoded and the next is behind it; more would fill the device's queue of kernels, and the
    program would wait to put any into it.
    """

    def __init__(self, streams: Streams, most_chunks: int = 2) -> None:
        self.most_chunks = most_chunks
        self._streams = streams
        self._latest: Underway | None = None

    def run(self, work: Work, reads: Tensor) -> Underway:
        with self._streams.beside():
            self._streams.keep(reads)
            began = self._streams.mark()
            tensors = [self._streams.to_host(tensor) for tensor in work()]
            self._latest = Underway(tensors, began, self._streams.mark())
        return self._latest

    def mark(self) -> Event:
        return self._streams.mark()

    def free_memory(self) -> bool:
        is_busy = self._latest is not None and not self._latest.is_ready()
        if self._latest is not None:
            self._latest.take()
        self._streams.empty_cache()
        return is_busy
