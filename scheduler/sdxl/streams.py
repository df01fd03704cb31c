"""Two streams of work on one device."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

cuda: Any = torch.cuda  # partly untyped


class Event(Protocol):
    """A mark in a stream, as `torch.cuda.Event`; `elapsed_time` in milliseconds."""

    def query(self) -> bool: ...

    def synchronize(self) -> None: ...

    def elapsed_time(self, end_event: Any) -> float: ...


class Streams(Protocol):
    """The main stream, which the steps are in, and another one."""

    def beside(self) -> AbstractContextManager[None]:
        """Inside, work goes to the other stream, behind all that is in the main stream by now."""
        ...

    def keep(self, tensor: Tensor) -> None:
        """The memory of a tensor of the main stream is not used again before the other stream has read it."""
        ...

    def to_host(self, tensor: Tensor) -> Tensor:
        """Starts a copy and does not wait for it."""
        ...

    def mark(self) -> Event: ...

    def empty_cache(self) -> None: ...


class CudaStreams:
    """https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-streams

    Without another stream, work that goes there goes to the main one.
    """

    def __init__(self, device: torch.device, *, has_other: bool = True) -> None:
        self._device = device
        self._other = cuda.Stream(device) if has_other else cuda.current_stream(device)

    @contextmanager
    def beside(self) -> Iterator[None]:
        self._other.wait_stream(cuda.current_stream(self._device))
        with cuda.stream(self._other):
            yield

    def keep(self, tensor: Tensor) -> None:
        tensor.record_stream(self._other)

    def to_host(self, tensor: Tensor) -> Tensor:
        # Only to pinned memory can the device copy by itself; PyTorch keeps both ends until it has.
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def mark(self) -> Event:
        # Blocking: who waits for it sleeps, and leaves the CPU to the threads that encode pictures.
        event: Event = cuda.current_stream(self._device).record_event(cuda.Event(enable_timing=True, blocking=True))
        return event

    def empty_cache(self) -> None:
        cuda.empty_cache()
