"""When to put the next step together: so late that arrivals still join it, so early that the device never waits."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from scheduler.engine import DeviceLost, describe
from scheduler.sdxl.streams import Event

MARGIN_SECONDS = 0.005  # what the loop does around a launch, and how late it may see that a step is over
POLL_SECONDS = 0.002  # until the next look, where it is not known when a step will be over
RECENT = 4  # steps of a kind, or launches, that tell of the next one
ENOUGH = 2  # of the steps: the first of a kind may take longer
MOST_KINDS = 256  # that are remembered; those that came last
# Of a step. A launch need not be over when the device comes to it: kernels run while later ones are put into the queue,
# and a queue that is full holds the program up however early it began.
MOST_LEAD = 1 / 8


class Kind(NamedTuple):
    """Steps that take the device equally long."""

    num_rows: int  # padding included
    pixels: int


@dataclass(frozen=True, slots=True)
class _Step:
    """On the device between two marks, from `launched_at` on or later."""

    kind: Kind
    launched_at: float
    began: Event
    ended: Event

    @property
    def seconds(self) -> float:
        """Known when it is over."""
        return self.began.elapsed_time(self.ended) / 1000


class Pace:
    """Measures steps and their launches as they go by. `mark` marks what the device was given so far.

    A kind of step is expected to take as little as it lately did, and a launch as much: where that is wrong, the next
    step is put together early. Of a kind that is not known, one step is put right behind another.
    """

    def __init__(self, mark: Callable[[], Event], clock: Callable[[], float] = time.monotonic) -> None:
        self._mark = mark
        self._clock = clock
        self._steps: deque[_Step] = deque()  # those that are not over, at most two
        self._seconds: dict[Kind, Sequence[float]] = {}
        self._launches: deque[float] = deque(maxlen=RECENT)
        self._looked_at = -math.inf  # when the first of the steps was seen not to be over
        self._ended_at = -math.inf  # when the latest that is over was so

    def begin(self) -> None:
        """A step is launched from now on. Waits while there is a step behind the one that the device computes."""
        self._forget_those_over()
        if len(self._steps) > 1:
            with _may_be_lost():
                self._steps[0].ended.synchronize()
            self._forget_those_over()
        self._launched_at = self._clock()
        self._began = self._mark()

    def end(self, kind: Kind) -> None:
        """It is launched."""
        self._launches.append(self._clock() - self._launched_at)
        self._steps.append(_Step(kind, self._launched_at, self._began, self._mark()))

    def seconds(self, kind: Kind) -> float:
        """What the latest such step took of the device; 0 where none is known."""
        return self._seconds[kind][-1] if kind in self._seconds else 0.0

    def seconds_to_spare(self) -> float:
        """Until the next step has to be put together, or until it is worth asking again. Raises `DeviceLost`."""
        self._forget_those_over()
        if not self._steps:
            return 0.0
        if len(self._steps) > 1:
            return POLL_SECONDS
        return max(0.0, self._launch_at(self._steps[0]) - self._clock())

    def _launch_at(self, running: _Step) -> float:
        """When to launch what comes behind it."""
        known = self._seconds.get(running.kind, ())
        if len(known) < ENOUGH:
            return -math.inf
        expected = min(known)
        lead = min(max(self._launches), expected * MOST_LEAD) + MARGIN_SECONDS
        return self._began_at(running) + expected - lead

    def _began_at(self, step: _Step) -> float:
        """The first that is not over began when the one before it ended, or when it was launched."""
        return max(step.launched_at, self._ended_at)

    def _forget_those_over(self) -> None:
        now = self._clock()
        with _may_be_lost():
            while self._steps and self._steps[0].ended.query():
                self._note(self._steps.popleft(), now)
        self._looked_at = now

    def _note(self, step: _Step, now: float) -> None:
        """That it is over. When it was so follows from the device's own clock, which is exact, between two looks."""
        self._seconds[step.kind] = [*self._seconds.pop(step.kind, ()), step.seconds][-RECENT:]
        if len(self._seconds) > MOST_KINDS:
            del self._seconds[next(iter(self._seconds))]
        self._ended_at = min(max(self._began_at(step) + step.seconds, self._looked_at), now)


@contextmanager
def _may_be_lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of a device that takes no more work
        raise DeviceLost(describe(error)) from error
