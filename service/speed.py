"""A model's measured speed: what `latentcast calibrate` tells, draws and stores."""

import math

import msgspec

from scheduler.cost import CostModel
from scheduler.messages import DeviceMemory, ModelInfo
from scheduler.room import Room


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """A measured denoising step of so many UNet rows, and the bytes of device memory in use meanwhile, if known."""

    rows: int
    seconds: float
    num_bytes: int | None = None

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds


class SizeSpeed(msgspec.Struct, frozen=True):
    """Of one size in pixels. `foreseen` are the seconds of steps of 1, 2, ... rows, as they follow from all `measured`.

    A larger batch than `knee` hardly pays; batches grow up to `max_rows`. Memory holds `fitting_rows`, if known.
    """

    width: int
    height: int
    measured: tuple[Step, ...]
    foreseen: tuple[float, ...]
    knee: int
    max_rows: int
    fitting_rows: int | None = None


class Speed(msgspec.Struct, frozen=True):
    """Of a model on a device, its sizes from small to large. The bounds are as in `ModelInfo`."""

    model: str
    device: str
    dtype: str
    max_rows: int
    max_step_seconds: float
    sizes: tuple[SizeSpeed, ...]


def speed_of(info: ModelInfo) -> Speed:
    costs = CostModel(info)
    return Speed(
        model=info.name,
        device=info.device,
        dtype=info.dtype,
        max_rows=info.max_rows,
        max_step_seconds=info.max_step_seconds,
        sizes=tuple(_size_speed(info, pixels, costs) for pixels in sorted({time.pixels for time in info.step_times})),
    )


def _size_speed(info: ModelInfo, pixels: int, costs: CostModel) -> SizeSpeed:
    factor = math.sqrt(pixels / (info.default_width * info.default_height))
    measured = sorted((time.rows, time.seconds) for time in info.step_times if time.pixels == pixels)
    peaks = _peaks(info.memory, pixels) if info.memory else {}
    return SizeSpeed(
        width=round(info.default_width * factor),
        height=round(info.default_height * factor),
        measured=tuple(Step(rows, seconds, peaks.get(rows)) for rows, seconds in measured),
        foreseen=tuple(costs.step_seconds(rows, pixels) for rows in range(1, info.max_rows + 1)),
        knee=costs.knee(pixels),
        max_rows=costs.max_rows(pixels),
        fitting_rows=Room(info.memory).fitting_rows(pixels) if info.memory else None,
    )


def _peaks(memory: DeviceMemory, pixels: int) -> dict[int, int]:
    """All bytes in use during a step of one size, by rows."""
    return {peak.rows: memory.resting + peak.num_bytes for peak in memory.step_peaks if peak.pixels == pixels}
