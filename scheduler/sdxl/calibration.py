"""Measures how long the engine's denoising steps take, or remembers it from an earlier start."""

import contextlib
import hashlib
import json
import platform
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import torch

from scheduler.calibration import MOST_RUNS, Calibration, DoesNotFit, Point, Progress, measure, own_point, plan
from scheduler.calibration_cache import CacheFault, CalibrationCache, CalibrationKey
from scheduler.engine import Engine, StepOutput
from scheduler.messages import StepPeak, WorkerConfig
from scheduler.request import GenerateParams, Request, Status
from scheduler.sdxl.gauge import Gauge, choose_gauge, taken
from scheduler.sdxl.step_engine import StepEngine
from scheduler.sdxl.weights import Model
from scheduler.version import package_version


def calibrate(model: Model, config: WorkerConfig, progress: Progress) -> Calibration:
    """Step times for either engine: a pipeline call's steps are UNet calls of as many rows."""
    engine = StepEngine(model, config)
    timer = StepTimer(engine, model.device, choose_gauge(model.device))
    if config.calibration == "skip":
        return timer.measure([own_point(engine.info)], progress=lambda _: None)
    cache, key = CalibrationCache(config.cache_dir), cache_key(model, config)
    known = _load(cache, key, progress) if config.calibration == "auto" else None
    if known is not None:
        return known
    calibration = timer.measure(plan(engine.info), progress)
    _store(cache, key, calibration, progress)
    return calibration


def _load(cache: CalibrationCache, key: CalibrationKey, progress: Progress) -> Calibration | None:
    try:
        return cache.load(key)
    except CacheFault as fault:
        progress(f"the model's speed has to be measured again: {fault}")
        return None


def _store(cache: CalibrationCache, key: CalibrationKey, calibration: Calibration, progress: Progress) -> None:
    try:
        cache.store(key, calibration)
    except CacheFault as fault:
        progress(f"the model's speed will be measured at the next start too: {fault}")


class StepTimer:
    """Times steps of an engine as requests get them, without previews, and measures what memory they take."""

    def __init__(self, engine: Engine, device: torch.device, gauge: Gauge) -> None:
        self._engine = engine
        self._device = device
        self._gauge = gauge
        self._peaks: dict[Point, int] = {}

    @property
    def peaks(self) -> tuple[StepPeak, ...]:
        """Of all steps that were run; none where there is nothing to measure them by."""
        return tuple(StepPeak(point.pixels, point.rows, peak) for point, peak in self._peaks.items() if peak)

    def measure(self, points: Sequence[Point], progress: Progress) -> Calibration:
        """Raises `DoesNotFit` if the first point is too big."""
        calibration = measure(points, self._engine.info, self.run_steps, progress)
        return msgspec.structs.replace(calibration, step_peaks=self.peaks)

    def run_steps(self, point: Point) -> Generator[float, None, None]:
        """Seconds of one step after the other of one batch. Raises `DoesNotFit`."""
        batch = _batch(point, self._engine.info.guidance_rows)
        seconds: list[float] = []
        try:
            while True:
                peak = taken(self._gauge, lambda: seconds.append(self._run(batch)))
                self._peaks[point] = max(peak, self._peaks.get(point, 0))
                yield seconds[-1]
        finally:
            for request in batch:
                self._engine.release(request)

    def _run(self, batch: Sequence[Request]) -> float:
        outputs: list[StepOutput] = []
        started = time.perf_counter()
        self._engine.run(batch, outputs.append)
        if self._device.type != "cpu":  # an accelerator only queues its work
            torch.accelerator.synchronize(self._device)
        seconds = time.perf_counter() - started
        _check(outputs[-1])
        return seconds


def cache_key(model: Model, config: WorkerConfig) -> CalibrationKey:
    path = Path(config.model)
    return CalibrationKey(
        model=str(path.resolve()) if path.exists() else config.model,
        unet=_digest({name: value for name, value in model.pipe.unet.config.items() if not name.startswith("_")}),
        device=_device_name(model.device),
        dtype=model.dtype_name,
        torch=str(torch.__version__),
        latentcast=package_version(),
        max_rows=config.max_rows,
        speedups=config.speedups,
    )


def _batch(point: Point, guidance_rows: Literal[1, 2]) -> list[Request]:
    """Requests of so many rows, with guidance but for one if the number is odd."""
    num_guided, num_others = divmod(point.rows, guidance_rows)
    scales = [2.0] * num_guided + [1.0] * num_others
    name = f"calibration-{point.rows}-{point.width}x{point.height}"
    return [_request(f"{name}-{index}", point, scale, guidance_rows) for index, scale in enumerate(scales)]


def _request(request_id: str, point: Point, guidance_scale: float, guidance_rows: Literal[1, 2]) -> Request:
    params = GenerateParams(
        prompt="a measurement",
        width=point.width,
        height=point.height,
        num_steps=MOST_RUNS + 1,  # it never comes to its picture
        guidance_scale=guidance_scale,
        guidance_rows=guidance_rows,
        preview_every=0,
    )
    return Request(id=request_id, params=params, status=Status.RUNNING)


def _check(output: StepOutput) -> None:
    """Whether all of the batch was run at once. Raises `DoesNotFit`."""
    errors = {result.code: result.error for result in output.outputs if result.error is not None}
    if output.out_of_memory or "out_of_memory" in errors:
        raise DoesNotFit("the memory does not hold the batch")
    if errors:
        raise RuntimeError(next(iter(errors.values())))


def _digest(config: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = next(_cpu_names(), platform.processor() or platform.machine())
    return f"{device.type}: {name}, {torch.get_num_threads()} threads"


def _cpu_names() -> Iterator[str]:
    """As Linux tells them."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                yield line.partition(":")[2].strip()
