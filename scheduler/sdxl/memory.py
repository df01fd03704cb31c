"""Out of memory: what does not fit at once is done in halves, and counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch

from scheduler.engine import DeviceLost, describe

# What a device raises that is lost to this process; PyTorch before 2.8 has no name for it.
LOST = getattr(torch, "AcceleratorError", ())

# What allocators say that raise a plain RuntimeError: for the CPU, for Apple's GPUs, for CUDA and its libraries.
PHRASES = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")

Item = TypeVar("Item")
Result = TypeVar("Result")


def is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in PHRASES)


def is_any_error(_: Exception) -> bool:
    """For work on items that have nothing to do with each other: halving leads to the one at fault, and to no other."""
    return True


@dataclass(frozen=True, slots=True)
class Fitted(Generic[Item, Result]):
    """What became of the items, in order: the parts with what each gave, and the items that fail even alone."""

    parts: list[tuple[Sequence[Item], Result]] = field(default_factory=list)
    failures: list[tuple[Item, Exception]] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether all was done at once."""
        return len(self.parts) + len(self.failures) <= 1

    @property
    def results(self) -> list[Result]:
        return [result for _, result in self.parts]


@dataclass(frozen=True, slots=True)
class _Raised:
    error: Exception


class Memory:
    """Runs work in parts that fit. `free` gives back what it can, and tells whether it had to wait for something."""

    def __init__(self, free: Callable[[], bool]) -> None:
        self._free = free
        self._num_halvings = 0

    @property
    def has_halved(self) -> bool:
        """Whether `take_halvings` has something to tell."""
        return self._num_halvings > 0

    def take_halvings(self) -> int:
        """How often memory did not suffice for several items since this was last asked."""
        taken, self._num_halvings = self._num_halvings, 0
        return taken

    def fit(
        self,
        items: Sequence[Item],
        work: Callable[[Sequence[Item]], Result],
        halve_on: Callable[[Exception], bool] = is_out_of_memory,
    ) -> Fitted[Item, Result]:
        """`work` on all items or, where it raises what `halve_on` names, on each half of them, down to single items.

        Raises `DeviceLost` where no half could do better.
        """
        fitted: Fitted[Item, Result] = Fitted()
        todo, may_wait = [items] if items else [], True
        while todo:
            part = todo.pop()
            outcome = _attempt(work, part, halve_on)
            if not isinstance(outcome, _Raised):
                fitted.parts.append((part, outcome))
            elif self._frees_memory(outcome.error) and may_wait:
                todo.append(part)
                may_wait = False  # or work that leaves something to wait for would be tried for ever
            elif len(part) == 1:
                fitted.failures.append((part[0], outcome.error))
            else:
                self._num_halvings += is_out_of_memory(outcome.error)
                middle = (len(part) + 1) // 2  # the larger half first: what fits first is the most that does
                todo += [part[middle:], part[:middle]]
        return fitted

    def _frees_memory(self, error: Exception) -> bool:
        return is_out_of_memory(error) and self._free()


def _attempt(
    work: Callable[[Sequence[Item]], Result], items: Sequence[Item], halve_on: Callable[[Exception], bool]
) -> Result | _Raised:
    try:
        return work(items)
    except Exception as error:
        if isinstance(error, LOST) and not is_out_of_memory(error):
            raise DeviceLost(describe(error)) from error
        if not halve_on(error):
            raise
        return _Raised(error.with_traceback(None))  # a traceback would keep the tensors of the call that failed
