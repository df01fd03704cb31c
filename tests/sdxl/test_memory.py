"""Memory: what does not fit is halved, in order, down to the item at fault."""

from collections.abc import Callable, Sequence

import pytest
import torch

from scheduler.engine import DeviceLost
from scheduler.sdxl.memory import Memory, is_any_error, is_out_of_memory

LETTERS = list("abcdefg")


def frees_nothing() -> bool:
    return False


def joined_up_to(most: int, tries: list[str]) -> Callable[[Sequence[str]], str]:
    """Joins letters, at most so many at once; notes every try."""

    def join(letters: Sequence[str]) -> str:
        tries.append("".join(letters))
        if len(letters) > most:
            raise torch.OutOfMemoryError("too many letters")
        return tries[-1]

    return join


@pytest.mark.parametrize(
    ("most", "expected", "num_halvings"),
    [(7, ["abcdefg"], 0), (4, ["abcd", "efg"], 1), (2, ["ab", "cd", "ef", "g"], 3), (1, LETTERS, 6)],
)
def test_what_does_not_fit_is_halved(most: int, expected: list[str], num_halvings: int) -> None:
    memory = Memory(frees_nothing)
    fitted = memory.fit(LETTERS, joined_up_to(most, []))
    assert fitted.results == expected
    assert fitted.is_whole == (num_halvings == 0)
    assert fitted.failures == []
    assert memory.take_halvings() == num_halvings
    assert memory.take_halvings() == 0


def test_what_does_not_fit_alone_fails() -> None:
    memory = Memory(frees_nothing)
    fitted = memory.fit(["a", "b"], joined_up_to(0, []))
    assert fitted.parts == []
    assert [(letter, str(error)) for letter, error in fitted.failures] == [
        ("a", "too many letters"),
        ("b", "too many letters"),
    ]
    assert memory.take_halvings() == 1


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="this PyTorch has no name for it")
@pytest.mark.parametrize("halve_on", [is_out_of_memory, is_any_error])
def test_a_device_that_is_lost_is_not_tried_again(halve_on: Callable[[Exception], bool]) -> None:
    tries = []

    def work(letters: Sequence[str]) -> None:
        tries.append(letters)
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(DeviceLost, match="illegal memory access"):
        Memory(frees_nothing).fit(LETTERS, work, halve_on)
    assert tries == [LETTERS]


def test_no_items_are_no_work() -> None:
    tries: list[str] = []
    assert Memory(frees_nothing).fit([], joined_up_to(1, tries)).is_whole
    assert tries == []


def test_memory_is_freed_after_each_try() -> None:
    freed: list[str] = []

    def free() -> bool:
        freed.append("freed")
        return False

    Memory(free).fit(LETTERS, joined_up_to(2, []))
    assert len(freed) == 3


def test_where_work_was_waited_for_the_same_is_tried_once_more() -> None:
    tries: list[str] = []
    memory = Memory(lambda: True)
    assert memory.fit(["a", "b"], joined_up_to(1, tries)).results == ["a", "b"]
    assert tries == ["ab", "ab", "a", "b"]
    assert memory.take_halvings() == 1


def test_other_errors_are_let_out() -> None:
    memory = Memory(frees_nothing)
    with pytest.raises(ZeroDivisionError):
        memory.fit([1, 0], lambda numbers: [1 / number for number in numbers])


def test_other_errors_may_be_traced_to_their_item() -> None:
    memory = Memory(frees_nothing)
    fitted = memory.fit([1, 2, 0, 4], lambda numbers: [1 / number for number in numbers], is_any_error)
    assert fitted.results == [[1.0, 0.5], [0.25]]
    assert [(number, type(error)) for number, error in fitted.failures] == [(0, ZeroDivisionError)]
    assert memory.take_halvings() == 0  # memory had nothing to do with it


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB, other allocations: 1.00 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
)
def test_out_of_memory_is_known_by_any_name(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_a_real_allocation_that_is_too_large() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("out of memory")])
def test_other_errors_are_not_out_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_a_kept_error_keeps_no_tensors() -> None:
    fitted = Memory(frees_nothing).fit(["a"], joined_up_to(0, []))
    assert fitted.failures[0][1].__traceback__ is None
