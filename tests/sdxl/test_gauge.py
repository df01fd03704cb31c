"""What is measured of a device's memory at start, and what it leads to."""

import dataclasses
from pathlib import Path

import pytest
import torch

from scheduler.engine import Engine
from scheduler.messages import StepPeak, WorkerConfig
from scheduler.room import USABLE, Room
from scheduler.sdxl import load
from scheduler.sdxl.gauge import CudaGauge, NoGauge, choose_gauge, decode_peak, measure_memory, taken
from scheduler.sdxl.weights import load_model
from tests.sdxl.gauges import BYTES_PER_DECODED_PIXEL, BYTES_PER_ROW_PIXEL, RESTING, STEP_BYTES, CountingGauge

GIB = 2**30
OWN_PIXELS = 64 * 64
CHUNK_PIXELS = 512 * 512  # what is decoded at once on a CPU


@pytest.fixture
def gauge(monkeypatch: pytest.MonkeyPatch) -> CountingGauge:
    gauge = CountingGauge(monkeypatch)
    use(gauge, monkeypatch)
    return gauge


def use(gauge: CountingGauge, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("calibration", "loading"):
        monkeypatch.setattr(f"scheduler.sdxl.{module}.choose_gauge", lambda _: gauge)


def start(model: Path, cache: Path, **changes: object) -> Engine:
    fields = {"model": str(model), "device": "cpu", "dtype": "float32", "max_rows": 8, "cache_dir": str(cache)}
    return load(WorkerConfig(**(fields | changes)), lambda _: None)  # type: ignore[arg-type]


def test_only_cuda_can_be_measured() -> None:
    assert isinstance(choose_gauge(torch.device("cuda:1")), CudaGauge)
    assert isinstance(choose_gauge(torch.device("cpu")), NoGauge)
    assert isinstance(choose_gauge(torch.device("mps")), NoGauge)


class FakeCuda:
    """8 GiB, of which the allocator has 5: 3 for tensors, the rest half for anything and half for recorded graphs."""

    def mem_get_info(self, _: torch.device) -> tuple[int, int]:
        return 3 * GIB, 8 * GIB

    def memory_reserved(self, _: torch.device) -> int:
        return 5 * GIB

    def memory_snapshot(self) -> list[dict[str, object]]:
        graphs_own, common = (0, 1), (0, 0)
        return [
            {"device": 0, "segment_pool_id": common, "total_size": 3 * GIB, "allocated_size": 2 * GIB},
            {"device": 0, "segment_pool_id": graphs_own, "total_size": 2 * GIB, "allocated_size": GIB},
            {"device": 1, "segment_pool_id": graphs_own, "total_size": 4 * GIB, "allocated_size": 0},
        ]


def test_what_only_graphs_may_use_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.sdxl.gauge.cuda", FakeCuda())
    assert CudaGauge(torch.device("cuda:0")).available() == 7 * GIB


def test_steps_that_are_recorded_count_as_they_were_when_they_were_made_ready(
    gauge: CountingGauge, tiny_sdxl: Path
) -> None:
    """Replayed, they take nothing; other sizes, and more rows, do."""
    model = load_model(WorkerConfig(model=str(tiny_sdxl), device="cpu", dtype="float32"), lambda _: None)
    ready = (StepPeak(OWN_PIXELS, 2, 200), StepPeak(OWN_PIXELS, 4, 400))
    model = dataclasses.replace(model, row_counts={(64, 64): [2, 4]}, ready_peaks=ready)
    replayed = [StepPeak(OWN_PIXELS, rows, 7) for rows in (1, 2, 3, 4)]
    other = [StepPeak(OWN_PIXELS, 8, 800), StepPeak(2 * OWN_PIXELS, 2, 390)]
    memory = measure_memory(model, gauge, [*replayed, *other])
    assert memory is not None
    assert memory.step_peaks == (*other, *ready)


def test_what_work_takes_is_counted_from_what_is_in_use(gauge: CountingGauge, tiny_sdxl: Path) -> None:
    model = load_model(WorkerConfig(model=str(tiny_sdxl), device="cpu", dtype="float32"), lambda _: None)
    assert taken(gauge, lambda: None) == 0
    assert decode_peak(model, gauge, num_pictures=3, width=64, height=32) == 3 * 64 * 32 * BYTES_PER_DECODED_PIXEL


def test_a_model_tells_what_its_steps_and_decodes_take(gauge: CountingGauge, tiny_sdxl: Path, tmp_path: Path) -> None:
    memory = start(tiny_sdxl, tmp_path).info.memory
    assert memory is not None
    assert (memory.available, memory.resting) == (gauge.available(), RESTING)
    assert (memory.decode_pixels, memory.decode_peak) == (CHUNK_PIXELS, CHUNK_PIXELS * BYTES_PER_DECODED_PIXEL)
    measured = {(peak.pixels, peak.rows): peak.num_bytes for peak in memory.step_peaks}
    assert measured == {(p, rows): STEP_BYTES + p * rows * BYTES_PER_ROW_PIXEL for p, rows in measured}
    assert {(OWN_PIXELS, rows) for rows in (1, 2, 4, 8)} <= set(measured)
    assert Room(memory).step_bytes(16, 4 * OWN_PIXELS) == pytest.approx(
        STEP_BYTES + 64 * OWN_PIXELS * BYTES_PER_ROW_PIXEL
    )


@pytest.mark.usefixtures("gauge")
def test_what_steps_take_is_kept_with_their_times(tiny_sdxl: Path, tmp_path: Path) -> None:
    first = start(tiny_sdxl, tmp_path).info
    assert start(tiny_sdxl, tmp_path).info == first


@pytest.mark.usefixtures("gauge")
def test_one_step_is_measured_in_any_case(tiny_sdxl: Path, tmp_path: Path) -> None:
    memory = start(tiny_sdxl, tmp_path, calibration="skip").info.memory
    assert memory is not None
    assert memory.step_peaks == (StepPeak(OWN_PIXELS, 2, STEP_BYTES + 2 * OWN_PIXELS * BYTES_PER_ROW_PIXEL),)


def test_nothing_is_told_where_nothing_is_measured(tiny_sdxl: Path, tmp_path: Path) -> None:
    assert start(tiny_sdxl, tmp_path).info.memory is None


def test_a_vae_that_does_not_fit_takes_no_room_from_the_steps(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pictures are decoded in tiles, as the memory allows."""

    def run_out_of_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    gauge = CountingGauge(monkeypatch)
    monkeypatch.setattr("diffusers.AutoencoderKL.decode", run_out_of_memory)
    model = load_model(WorkerConfig(model=str(tiny_sdxl), device="cpu", dtype="float32"), lambda _: None)
    memory = measure_memory(model, gauge, [StepPeak(OWN_PIXELS, 2, 100)])
    assert memory is not None
    assert memory.decode_peak == 0


def test_the_memory_bounds_what_is_taken_on(tiny_sdxl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three_rows = STEP_BYTES + 3 * OWN_PIXELS * BYTES_PER_ROW_PIXEL
    decode = CHUNK_PIXELS * BYTES_PER_DECODED_PIXEL
    use(CountingGauge(monkeypatch, round((RESTING + three_rows + decode) / USABLE) + 10), monkeypatch)
    memory = start(tiny_sdxl, tmp_path).info.memory
    assert memory is not None
    assert Room(memory).fitting_rows(OWN_PIXELS) == 3
