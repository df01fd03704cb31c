"""What requests cost: the time of a denoising step as measured at start-up, and all that follows from it."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from scheduler.messages import ModelInfo, StepTime
from scheduler.padding import padded
from scheduler.request import GenerateParams
from scheduler.room import Room

WORTHWHILE = 0.95  # of the best throughput: where a larger batch stops to pay
DEAREST_TURN = 2
"""How much less often than a full batch a group is served, at the most, because its rows are few."""
MOST_SHARES = 4
"""How much more often a group is served, at the most, because many want to be in it."""


@dataclass(frozen=True, slots=True)
class SizeCost:
    """What follows from the step times of one size: `seconds[rows - 1]` a step, in a batch of so many rows."""

    seconds: Sequence[float]
    knee: int
    max_rows: int


class CostModel:
    """Step times by UNet rows and pixels, interpolated between those measured.

    Piecewise linear in rows, and in pixels between the measured sizes and beyond them, though for small ones no less
    than in proportion to the smallest that was measured. A measured time above that of a batch of more rows, or of a
    larger size, is taken for a disturbed measurement and lowered to it: so seconds never fall where rows are added.
    Rows that are padded cost what those cost that they are padded to.
    """

    def __init__(self, info: ModelInfo) -> None:
        self._max_rows = info.max_rows
        self._max_step_seconds = info.max_step_seconds
        self._row_counts = info.row_counts
        self._room = None if info.memory is None else Room(info.memory)
        self._default_pixels = info.default_width * info.default_height
        self._measured = _measured(info.step_times, info.max_rows)
        self._limits: dict[int, int] = {}  # on rows, by pixels, where memory was too small for more
        self._sizes: dict[int, SizeCost] = {}  # by pixels; a model allows a few thousand sizes at most

    def limit_rows(self, pixels: int, num_rows: int) -> None:
        """No more rows of that size fit into memory, and of larger ones in proportion."""
        self._limits[pixels] = min(num_rows, self._limits.get(pixels, num_rows))
        self._sizes.clear()

    def step_seconds(self, num_rows: int, pixels: int) -> float:
        """Seconds of one denoising step of `num_rows` UNet rows, 1 or more, of `pixels` each.

        Of more than `ModelInfo.max_rows`, as padding may make them, those of as many.
        """
        seconds = self._size(pixels).seconds
        return seconds[min(num_rows, len(seconds)) - 1]

    def max_rows(self, pixels: int) -> int:
        """The batch cap: grows to where a larger batch stops to pay, and on while a step stays short, if it fits."""
        return self._size(pixels).max_rows

    def knee(self, pixels: int) -> int:
        """The fewest rows that give nearly the most rows a second."""
        return self._size(pixels).knee

    def row_seconds(self, pixels: int) -> float:
        """What a row takes of the device's time in a full batch."""
        rows = self.max_rows(pixels)
        return self.step_seconds(rows, pixels) / rows

    def turn_charge(self, num_rows: int, num_wanted: int, pixels: int) -> float:
        """What a step is charged to its group, from 1 / `MOST_SHARES` to `DEAREST_TURN`.

        The square of a row's seconds in it, against those in a full batch; shared by as many batches as the rows of all
        its requests, `num_wanted`, would fill.
        """
        relative = self.step_seconds(num_rows, pixels) / num_rows / self.row_seconds(pixels)
        shares = num_wanted / self.max_rows(pixels)
        return min(max(1.0, relative**2), DEAREST_TURN) / min(max(1.0, shares), MOST_SHARES)

    def row_cost(self, pixels: int) -> float:
        """The work of one row in one step, in row-steps at the model's own size."""
        return self.row_seconds(pixels) / self.row_seconds(self._default_pixels)

    def request_cost(self, params: GenerateParams) -> float:
        """The work of a whole request, in row-steps at the model's own size."""
        return params.num_rows * params.num_steps * self.row_cost(params.pixels)

    def seconds_for(self, cost: float) -> float:
        """How long a worker with full batches takes for so much work."""
        return cost * self.row_seconds(self._default_pixels)

    def seconds_alone(self, params: GenerateParams) -> float:
        """The least time in which a request's steps can be done: with the device to itself."""
        return params.num_steps * self.step_seconds(params.num_rows, params.pixels)

    def _size(self, pixels: int) -> SizeCost:
        size = self._sizes.get(pixels)
        if size is None:
            seconds = self._with_padding(pixels, self._step_times(pixels))
            size = self._sizes[pixels] = self._size_cost(seconds, self._fitting_rows(pixels))
        return size

    def _fitting_rows(self, pixels: int) -> int:
        """The most rows that memory holds: as is foreseen, or as was found out since."""
        limits = [rows * size // pixels for size, rows in self._limits.items() if size <= pixels]
        return min([self._rows_in_room(pixels), *limits])

    def _rows_in_room(self, pixels: int) -> int:
        """With those that they are padded by."""
        if self._room is None:
            return self._max_rows
        most, counts = self._room.fitting_rows(pixels), self._row_counts.get(pixels, ())
        return max((rows for rows in range(1, self._max_rows + 1) if padded(rows, counts) <= most), default=0)

    def _with_padding(self, pixels: int, seconds: Sequence[float]) -> Sequence[float]:
        counts = self._row_counts.get(pixels, ())
        return [seconds[min(padded(rows, counts), len(seconds)) - 1] for rows in range(1, len(seconds) + 1)]

    def _size_cost(self, seconds: Sequence[float], fitting_rows: int) -> SizeCost:
        rates = [rows / time for rows, time in enumerate(seconds, 1)]
        worthwhile = WORTHWHILE * max(rates)
        knee = next(rows for rows, rate in enumerate(rates, 1) if rate >= worthwhile)
        num_short = sum(time <= self._max_step_seconds for time in seconds)
        # A request with guidance takes two rows: it shall at least be tried.
        return SizeCost(seconds, knee, max(2, min(fitting_rows, max(knee, num_short))))

    def _step_times(self, pixels: int) -> Sequence[float]:
        """Seconds for 1, 2, ... rows."""
        sizes = list(self._measured)
        if len(sizes) == 1:
            return [time * pixels / sizes[0] for time in self._measured[sizes[0]]]
        index = min(max(bisect_left(sizes, pixels), 1), len(sizes) - 1)
        low, high = sizes[index - 1], sizes[index]
        share = (pixels - low) / (high - low)
        pairs = zip(self._measured[low], self._measured[high], strict=True)
        least = min(1.0, pixels / low)
        return _lowered([max(at_low + share * (at_high - at_low), least * at_low) for at_low, at_high in pairs])


def _measured(step_times: Iterable[StepTime], max_rows: int) -> dict[int, Sequence[float]]:
    """Seconds for 1..max_rows rows, by pixels, in order of pixels."""
    points: dict[int, list[tuple[int, float]]] = {}
    for time in sorted(step_times, key=lambda time: (time.pixels, time.rows)):
        points.setdefault(time.pixels, []).append((time.rows, time.seconds))
    counts = range(1, max_rows + 1)
    curves = {pixels: _lowered([_at(curve, rows) for rows in counts]) for pixels, curve in points.items()}
    for smaller, larger in reversed(list(pairwise(curves))):
        curves[smaller] = [min(times) for times in zip(curves[smaller], curves[larger], strict=True)]
    return curves


def _lowered(seconds: Sequence[float]) -> Sequence[float]:
    """Each to the least of those that follow: disturbances make a measured time longer, never shorter."""
    return list(accumulate(reversed(seconds), min))[::-1]


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
