"""A device with two streams, for tests: what is put beside the steps stands still until it is let go."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

MILLISECONDS = 20.0  # between any two marks


class Mark:
    """Reached when all that is before it in its stream is done."""

    def __init__(self, streams: "HeldStreams") -> None:
        self.is_reached = False
        self.was_waited_for = False
        self._streams = streams

    def reach(self) -> None:
        self.is_reached = True

    def query(self) -> bool:
        return self.is_reached

    def synchronize(self) -> None:
        self.was_waited_for = True
        while not self.is_reached:
            self._streams.let_go()

    def elapsed_time(self, end_event: Any) -> float:
        assert self.is_reached
        assert end_event.is_reached
        return MILLISECONDS


class HeldStreams:
    """Computes at once, but copies reach the host, and marks are reached, one by one by `let_go`.

    `log` tells in what order it was asked for what, `kept` which tensors must not be used again early. `steps` are the
    marks in the main stream; they are reached in their order among all that is held.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.kept: list[Tensor] = []
        self.steps: list[Mark] = []
        self._is_beside = False
        self._held: deque[Callable[[], object]] = deque()

    @torch.inference_mode()
    def let_go(self) -> None:
        self._held.popleft()()

    def let_all_go(self) -> None:
        while self._held:
            self.let_go()

    @contextmanager
    def beside(self) -> Iterator[None]:
        self.log.append("enter")
        self._is_beside = True
        try:
            yield
        finally:
            self._is_beside = False
            self.log.append("leave")

    def keep(self, tensor: Tensor) -> None:
        self.log.append("keep")
        self.kept.append(tensor)

    def to_host(self, tensor: Tensor) -> Tensor:
        self.log.append("copy")
        host = torch.zeros_like(tensor)
        self._held.append(lambda: host.copy_(tensor))
        return host

    def mark(self) -> Mark:
        self.log.append("mark" if self._is_beside else "mark step")
        mark = Mark(self)
        self._held.append(mark.reach)
        if not self._is_beside:
            self.steps.append(mark)
        return mark

    def empty_cache(self) -> None:
        self.log.append("empty cache")
