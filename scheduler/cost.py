"""What requests cost: the time of a denoising step as measured at start-up, and all that follows from it."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

from scheduler.messages import ModelInfo, StepTime
from scheduler.request import GenerateParams

WORTHWHILE = 0.95  # of the best throughput: where a larger batch stops to pay


class CostModel:
    """Step times by UNet rows and pixels, interpolated between those measured.

    `step_seconds` is piecewise linear in rows; between sizes the seconds of a row follow a power of the pixels.
    """

    def __init__(self, info: ModelInfo) -> None:
        self._curves = _curves(info.step_times)
        self._max_rows = info.max_rows
        self._max_step_seconds = info.max_step_seconds
        self._default_pixels = info.default_width * info.default_height

    def step_seconds(self, num_rows: int, pixels: int) -> float:
        """Seconds of one denoising step of `num_rows` UNet rows of `pixels` each."""
        sizes = sorted(self._curves)
        if len(sizes) == 1:
            return _at(self._curves[sizes[0]], num_rows) * pixels / sizes[0]
        index = min(max(bisect_left(sizes, pixels), 1), len(sizes) - 1)
        low, high = sizes[index - 1], sizes[index]
        at_low, at_high = _at(self._curves[low], num_rows), _at(self._curves[high], num_rows)
        share = math.log(pixels / low) / math.log(high / low)
        return at_low * math.pow(at_high / at_low, share)

    def max_rows(self, pixels: int) -> int:
        """The batch cap: grows to where a larger batch stops to pay, and on while a step stays short."""
        counts = range(2, self._max_rows + 1)
        short = [rows for rows in counts if self.step_seconds(rows, pixels) <= self._max_step_seconds]
        return max(self.knee(pixels), *short, 2)

    def knee(self, pixels: int) -> int:
        """The fewest rows that give nearly the most rows a second."""
        counts = range(1, self._max_rows + 1)
        rates = [rows / self.step_seconds(rows, pixels) for rows in counts]
        return next(rows for rows, rate in zip(counts, rates, strict=True) if rate >= WORTHWHILE * max(rates))

    def row_seconds(self, pixels: int) -> float:
        """What a row takes of the device's time in a full batch."""
        rows = self.max_rows(pixels)
        return self.step_seconds(rows, pixels) / rows

    def request_cost(self, params: GenerateParams) -> float:
        """The work of a whole request, in row-steps at the model's own size."""
        relative = self.row_seconds(params.pixels) / self.row_seconds(self._default_pixels)
        return params.num_rows * params.num_steps * relative

    def seconds_for(self, cost: float) -> float:
        """How long a worker with full batches takes for so much work."""
        return cost * self.row_seconds(self._default_pixels)

    def seconds_alone(self, params: GenerateParams, num_steps: int | None = None) -> float:
        """The least time in which a request's steps can be done: with the device to itself."""
        steps = params.num_steps if num_steps is None else num_steps
        return steps * self.step_seconds(params.num_rows, params.pixels)


def _curves(step_times: Iterable[StepTime]) -> dict[int, list[tuple[int, float]]]:
    """By pixels: rows and seconds, in order of rows."""
    curves: dict[int, list[tuple[int, float]]] = {}
    for time in sorted(step_times, key=lambda time: time.rows):
        curves.setdefault(time.pixels, []).append((time.rows, time.seconds))
    return curves


def _at(curve: Sequence[tuple[int, float]], num_rows: int) -> float:
    """Linear between the points; beyond the last as between the last two, before the first as if rows were free."""
    if num_rows <= curve[0][0]:
        return curve[0][1]
    for (rows, seconds), (more_rows, more_seconds) in pairwise(curve):
        if num_rows <= more_rows:
            return seconds + (more_seconds - seconds) * (num_rows - rows) / (more_rows - rows)
    rows, seconds = curve[-1]
    slope = seconds / rows
    if len(curve) > 1:
        fewer_rows, fewer_seconds = curve[-2]
        slope = max(0.0, (seconds - fewer_seconds) / (rows - fewer_rows))
    return seconds + slope * (num_rows - rows)
