"""Calibration of a real engine: what it measures, and when it measures at all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from scheduler.calibration import DoesNotFit, Point, own_point, plan
from scheduler.engine import OnStep, RequestOutput, StepOutput
from scheduler.messages import WorkerConfig
from scheduler.request import Request
from scheduler.sdxl import load
from scheduler.sdxl.calibration import StepTimer, cache_key, calibrate
from scheduler.sdxl.gauge import NoGauge
from scheduler.sdxl.step_engine import StepEngine
from scheduler.sdxl.weights import load_model
from tests.info import make_info
from tests.models import save_tiny_sdxl
from tests.sdxl.faults import limit_pixels


def make_config(model: Path, cache: Path, **changes: Any) -> WorkerConfig:
    fields: dict[str, Any] = {"device": "cpu", "dtype": "float32", "max_rows": 4, "cache_dir": str(cache)}
    return WorkerConfig(model=str(model), **(fields | changes))


def measurements(told: list[str]) -> int:
    return sum(line.startswith("measuring") for line in told)


@pytest.mark.parametrize("batching", ["step", "call"])
def test_an_engine_tells_its_step_times(tiny_sdxl: Path, tmp_path: Path, batching: str) -> None:
    info = load(make_config(tiny_sdxl, tmp_path, batching=batching), lambda _: None).info
    assert {(time.rows, time.pixels) for time in info.step_times} == {
        (point.rows, point.pixels) for point in plan(info)
    }
    assert all(0 < time.seconds < 4 for time in info.step_times)
    assert info.max_rows == 4


def test_it_is_measured_once_and_kept(tiny_sdxl: Path, tmp_path: Path) -> None:
    told: list[str] = []
    config = make_config(tiny_sdxl, tmp_path)
    first = load(config, told.append).info
    assert measurements(told) == len(plan(first))
    again = load(config, told.append).info
    assert measurements(told) == len(plan(first))
    assert again == first


def test_fresh_measures_again_and_keeps_that(tiny_sdxl: Path, tmp_path: Path) -> None:
    first = load(make_config(tiny_sdxl, tmp_path), lambda _: None).info
    fresh = load(make_config(tiny_sdxl, tmp_path, calibration="fresh"), lambda _: None).info
    assert fresh != first
    assert load(make_config(tiny_sdxl, tmp_path), lambda _: None).info == fresh


def test_skip_takes_one_step_and_keeps_nothing(tiny_sdxl: Path, tmp_path: Path) -> None:
    told: list[str] = []
    info = load(make_config(tiny_sdxl, tmp_path, calibration="skip"), told.append).info
    assert [(time.rows, time.pixels) for time in info.step_times] == [(2, own_point(info).pixels)]
    assert measurements(told) == 0
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_used_is_told_and_ends_nothing(tiny_sdxl: Path, tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "file").touch()
    info = load(make_config(tiny_sdxl, tmp_path / "file"), told.append).info
    assert len(info.step_times) == len(plan(info))
    assert sum(line.startswith("the model's speed has to be measured again: ") for line in told) == 1
    assert told[-2].startswith("the model's speed will be measured at the next start too: ")
    assert told[-1] == "warming up"


def test_the_key_is_the_models_and_the_devices(tiny_sdxl: Path, tmp_path: Path) -> None:
    config = make_config(tiny_sdxl, tmp_path)
    key = cache_key(load_model(config, lambda _: None), config)
    assert (key.model, key.dtype, key.max_rows) == (str(tiny_sdxl.resolve()), "float32", 4)
    assert key.device.startswith("cpu: ")
    assert key.device.endswith(f", {torch.get_num_threads()} threads")
    other = make_config(save_tiny_sdxl(tmp_path / "other", time_cond_proj_dim=4), tmp_path)
    assert cache_key(load_model(other, lambda _: None), other).unet != key.unet


@pytest.mark.parametrize(("time_cond_proj_dim", "rows"), [(None, 1), (None, 2), (None, 3), (4, 3)])
def test_a_batch_has_as_many_rows_as_asked_for(tmp_path: Path, time_cond_proj_dim: int | None, rows: int) -> None:
    config = make_config(save_tiny_sdxl(tmp_path / "model", time_cond_proj_dim=time_cond_proj_dim), tmp_path)
    model = load_model(config, lambda _: None)
    engine = Recorder(StepEngine(model, config))
    steps = StepTimer(engine, model.device, NoGauge()).run_steps(Point(rows, 64, 128))
    assert next(steps) > 0
    assert next(steps) > 0
    steps.close()
    assert [output.num_rows for output in engine.outputs] == [rows, rows]
    assert {(result.request.params.width, result.request.params.height) for result in engine.outputs[0].outputs} == {
        (64, 128)
    }
    assert engine.released == [result.request for result in engine.outputs[0].outputs]


class Recorder:
    """An engine that notes what it does."""

    def __init__(self, engine: StepEngine) -> None:
        self.info = engine.info
        self.outputs: list[StepOutput] = []
        self.released: list[Request] = []
        self._engine = engine

    def expect(self, requests: Sequence[Request]) -> None:
        self._engine.expect(requests)

    def run(self, batch: Sequence[Request], on_step: OnStep) -> None:
        self._engine.run(batch, self.outputs.append)
        on_step(self.outputs[-1])

    def seconds_to_spare(self) -> float:
        return self._engine.seconds_to_spare()

    def collect(self, *, wait: bool) -> Sequence[RequestOutput]:
        return self._engine.collect(wait=wait)

    def release(self, request: Request) -> None:
        self.released.append(request)
        self._engine.release(request)


class Cramped:
    """An engine that has no room for a batch, and halves it or gives it up."""

    def __init__(self, output: StepOutput, **of_result: Any) -> None:
        self.info = make_info()
        self._output = output
        self._of_result = of_result

    def expect(self, requests: Sequence[Request]) -> None:
        raise NotImplementedError(requests)

    def run(self, batch: Sequence[Request], on_step: OnStep) -> None:
        results = [RequestOutput(request, 1, **self._of_result) for request in batch]
        on_step(StepOutput(results, self._output.num_rows, 0.1, out_of_memory=self._output.out_of_memory))

    def seconds_to_spare(self) -> float:
        return 0.0

    def collect(self, *, wait: bool) -> Sequence[RequestOutput]:
        raise NotImplementedError(wait)

    def release(self, request: Request) -> None: ...


def cramped_step(num_halved: int, **of_result: Any) -> float:
    output = StepOutput([], 4, 0.1, out_of_memory=num_halved)
    return next(StepTimer(Cramped(output, **of_result), torch.device("cpu"), NoGauge()).run_steps(Point(4, 64, 64)))


def test_a_batch_that_was_halved_does_not_fit() -> None:
    with pytest.raises(DoesNotFit):
        cramped_step(num_halved=1)


def test_a_batch_that_cannot_be_halved_does_not_fit() -> None:
    with pytest.raises(DoesNotFit):
        cramped_step(num_halved=0, error="no room", code="out_of_memory")


def test_another_error_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="broken"):
        cramped_step(num_halved=0, error="broken")


def test_a_lower_cap_reaches_the_engine(tiny_sdxl: Path, tmp_path: Path) -> None:
    """As it is after memory ran out while measuring."""
    config = make_config(tiny_sdxl, tmp_path)
    first = load(config, lambda _: None).info
    (file,) = tmp_path.iterdir()
    entry = msgspec.json.decode(file.read_bytes())
    entry["calibration"]["max_rows"] = 2
    file.write_bytes(msgspec.json.encode(entry))
    assert load(config, lambda _: None).info == msgspec.structs.replace(first, max_rows=2)


def test_what_memory_does_not_hold_bounds_the_batch(tiny_sdxl: Path, tmp_path: Path) -> None:
    """Room for four rows of the model's own size, 8x8 latents each, or for one of twice its sides."""
    told: list[str] = []
    config = make_config(tiny_sdxl, tmp_path, max_rows=8)
    model = load_model(config, lambda _: None)
    limit_pixels(model.pipe.unet, most=4 * 8 * 8)
    calibration = calibrate(model, config, told.append)
    assert calibration.max_rows == 4
    assert max(time.rows * time.pixels for time in calibration.step_times) == 4 * 64 * 64
    assert told[-1] == "the memory does not hold 8 rows of 64x64: at most 4 rows will run at once"


def test_a_model_of_which_no_row_fits_is_refused(tiny_sdxl: Path, tmp_path: Path) -> None:
    config = make_config(tiny_sdxl, tmp_path)
    model = load_model(config, lambda _: None)
    limit_pixels(model.pipe.unet, most=1)
    with pytest.raises(DoesNotFit):
        calibrate(model, config, lambda _: None)
