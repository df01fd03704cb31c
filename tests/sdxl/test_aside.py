"""Work beside the steps: in order, never waited for by a step, its inputs kept, its memory given back."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from scheduler.sdxl import streams as streams_module
from scheduler.sdxl.aside import Inline, SideStream, between_steps, choose_aside
from tests.sdxl.held import MILLISECONDS, HeldStreams


@pytest.fixture
def streams() -> HeldStreams:
    return HeldStreams()


@pytest.fixture
def side(streams: HeldStreams) -> SideStream:
    return SideStream(streams)


def doubled(tensor: Tensor) -> list[Tensor]:
    return [tensor * 2, tensor > 1]


def test_a_cpu_works_inline() -> None:
    for device in (torch.device("cpu"), torch.device("mps")):
        assert isinstance(choose_aside(device), Inline)
        assert isinstance(between_steps(device), Inline)


def test_cuda_works_beside_the_steps_or_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between them a chunk has to be ready before the next is begun; beside them the next may stand in line."""
    cuda = SimpleNamespace(Stream=lambda _: "another one", current_stream=lambda _: "that of the steps")
    monkeypatch.setattr(streams_module, "cuda", cuda)
    beside, between = choose_aside(torch.device("cuda")), between_steps(torch.device("cuda"))
    assert (beside.most_chunks, between.most_chunks) == (2, 1)
    assert isinstance(beside, SideStream)
    assert isinstance(between, SideStream)


def test_inline_work_is_ready_at_once() -> None:
    numbers = torch.tensor([1.0, 2.0])
    made = Inline().run(lambda: doubled(numbers), reads=numbers)
    assert made.is_ready()
    assert [tensor.tolist() for tensor in made.take()] == [[2.0, 4.0], [False, True]]
    assert made.seconds > 0


def test_inline_there_is_nothing_to_wait_for() -> None:
    inline = Inline()
    inline.mark().synchronize()
    assert inline.mark().query() is True
    assert inline.mark().elapsed_time(inline.mark()) == 0.0
    assert inline.free_memory() is False


def test_the_other_stream_waits_for_the_main_one_and_keeps_what_it_reads(
    side: SideStream, streams: HeldStreams
) -> None:
    numbers = torch.ones(1)

    def work() -> list[Tensor]:
        streams.log.append("work")
        return doubled(numbers)

    side.run(work, reads=numbers)
    assert streams.log == ["enter", "keep", "mark", "work", "copy", "copy", "mark", "leave"]
    assert streams.kept[0] is numbers


def test_what_is_made_is_ready_when_its_copies_are(side: SideStream, streams: HeldStreams) -> None:
    numbers = torch.tensor([1.0, 2.0])
    made = side.run(lambda: doubled(numbers), reads=numbers)
    for _ in ("the first mark", "a copy", "a copy"):
        streams.let_go()
        assert not made.is_ready()
    streams.let_go()
    assert made.is_ready()
    assert [tensor.tolist() for tensor in made.take()] == [[2.0, 4.0], [False, True]]
    assert made.seconds == MILLISECONDS / 1000


def test_taking_waits(side: SideStream) -> None:
    numbers = torch.tensor([3.0])
    first = side.run(lambda: [numbers], reads=numbers)
    second = side.run(lambda: [numbers * 2], reads=numbers)
    assert not first.is_ready()
    assert second.take()[0].tolist() == [6.0]
    assert first.is_ready()  # it is before the second in the stream


def test_an_error_leaves_the_stream_usable(side: SideStream, streams: HeldStreams) -> None:
    numbers = torch.ones(1)

    def work() -> list[Tensor]:
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(torch.OutOfMemoryError):
        side.run(work, reads=numbers)
    assert streams.log[-1] == "leave"
    assert side.run(lambda: [numbers], reads=numbers).take()[0].tolist() == [1.0]


def test_a_mark_is_in_the_stream_of_the_steps(side: SideStream, streams: HeldStreams) -> None:
    mark = side.mark()
    assert streams.steps == [mark]
    assert not mark.query()
    mark.synchronize()
    assert mark.query()


def test_memory_is_free_when_all_work_is_done(side: SideStream, streams: HeldStreams) -> None:
    assert side.free_memory() is False
    made = side.run(lambda: [torch.ones(1)], reads=torch.ones(1))
    assert side.free_memory() is True
    assert made.is_ready()
    assert streams.log[-1] == "empty cache"
    assert side.free_memory() is False
