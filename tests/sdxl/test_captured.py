"""CUDA graphs, with a device that only keeps what it was asked for."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from scheduler.sdxl import captured
from scheduler.sdxl.captured import WARM_UP_CALLS, Captured, Lane


class FakeGraph:
    """Runs what was recorded again, into the same memory."""

    def __init__(self, device: "FakeCuda") -> None:
        self._device = device

    def replay(self) -> None:
        self._device.log.append("replay")
        self._device.result.copy_(self._device.source * 2)


class FakeStream:
    def __init__(self, device: "FakeCuda", name: str) -> None:
        self._device, self.name = device, name

    def wait_stream(self, other: "FakeStream") -> None:
        self._device.log.append(f"{self.name} waits for {other.name}")


class FakeCuda:
    """`source` is the buffer of the recorded call, `result` its result."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.source, self.result = torch.ones(2), torch.zeros(2)
        self._main = FakeStream(self, "main")
        self._num_streams = 0

    def call(self) -> dict[str, Tensor]:
        self.log.append("call")
        return {"doubled": self.result}

    def graph_pool_handle(self) -> str:
        return "pool"

    def Stream(self) -> FakeStream:  # noqa: N802 - as in torch.cuda
        self._num_streams += 1
        return FakeStream(self, f"lane {self._num_streams}")

    def CUDAGraph(self) -> FakeGraph:  # noqa: N802
        return FakeGraph(self)

    def current_stream(self) -> FakeStream:
        return self._main

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        self.log.append(f"in {stream.name}")
        yield

    @contextmanager
    def graph(self, _graph: FakeGraph, pool: str, stream: FakeStream) -> Iterator[None]:
        self.log.append(f"record into {pool} in {stream.name}")
        yield


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    device = FakeCuda()
    monkeypatch.setattr(captured, "cuda", device)
    return device


def test_a_call_is_recorded_after_it_has_run_in_a_stream_of_its_own(cuda: FakeCuda) -> None:
    Captured(cuda.call, Lane())
    assert cuda.log == [
        "lane 1 waits for main",
        "in lane 1",
        *["call"] * WARM_UP_CALLS,
        "main waits for lane 1",
        "in lane 1",
        "record into pool in lane 1",
        "call",
    ]


def test_each_lane_has_a_stream_of_its_own(cuda: FakeCuda) -> None:
    for lane in (Lane(), Lane()):
        Captured(cuda.call, lane)
    assert [line for line in cuda.log if line.startswith("record")] == [
        "record into pool in lane 1",
        "record into pool in lane 2",
    ]


def test_it_is_replayed_and_never_called_again(cuda: FakeCuda) -> None:
    replayed = Captured(cuda.call, Lane())
    cuda.log.clear()
    cuda.source.fill_(3)
    assert replayed()["doubled"].tolist() == [6, 6]
    assert cuda.log == ["replay"]


def test_a_result_outlives_the_next_replay(cuda: FakeCuda) -> None:
    replayed = Captured(cuda.call, Lane())
    first = replayed()["doubled"]
    cuda.source.fill_(5)
    assert replayed()["doubled"].tolist() == [10, 10]
    assert first.tolist() == [2, 2]
