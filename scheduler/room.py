"""What fits into the memory of a model's device, by what its steps and decodes were measured to take."""

import math
from collections.abc import Sequence

from scheduler.messages import DeviceMemory, StepPeak

USABLE = 0.95
"""Of what is available: an allocator cannot use the gaps between what lies in its memory."""
LEAST_PER_PIXEL = 1.0  # bytes; a line through steps that take no memory when they are measured would be flat


class Room:
    """A step takes a fixed part and as much again for each pixel of each row: a line through the measured peaks, raised
    until none is above it.
    """

    def __init__(self, memory: DeviceMemory) -> None:
        self._free = USABLE * memory.available - memory.resting
        self._fixed, self._per_pixel = _line(memory.step_peaks)
        self._memory = memory

    def step_bytes(self, num_rows: int, pixels: int) -> float:
        """What a step of so many rows takes, besides what the model holds anyway."""
        return self._fixed + self._per_pixel * num_rows * pixels

    def fitting_rows(self, pixels: int) -> int:
        """The most rows of a step beside which pictures of that size can be decoded; 0 if there are none."""
        return self._pixels_in(self._free - self._decode_bytes(pixels)) // pixels

    def largest_picture(self, num_rows: int) -> int:
        """The most pixels of a picture whose steps, of so many rows, fit while nothing else is done.

        Its decode needs no room of its own: where it does not fit, it is done in tiles.
        """
        return self._pixels_in(self._free) // num_rows

    def _decode_bytes(self, pixels: int) -> float:
        """Smaller pictures are decoded several at once."""
        return self._memory.decode_peak * max(1.0, pixels / self._memory.decode_pixels)

    def _pixels_in(self, num_bytes: float) -> int:
        """Of all rows together."""
        return max(0, math.floor((num_bytes - self._fixed) / self._per_pixel))


def _line(peaks: Sequence[StepPeak]) -> tuple[float, float]:
    """Bytes for no pixels, and for each: a line of least squares, raised to the peak that is farthest above it."""
    points = [(peak.rows * peak.pixels, peak.num_bytes) for peak in peaks]
    if len({work for work, _ in points}) == 1:
        points.append((0, 0))
    mean_work, mean_bytes = (sum(each) / len(points) for each in zip(*points, strict=True))
    covariance = sum((work - mean_work) * (num_bytes - mean_bytes) for work, num_bytes in points)
    per_pixel = max(covariance / sum((work - mean_work) ** 2 for work, _ in points), LEAST_PER_PIXEL)
    return max(num_bytes - per_pixel * work for work, num_bytes in points), per_pixel
