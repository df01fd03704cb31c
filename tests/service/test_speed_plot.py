from pathlib import Path

import numpy as np
from PIL import Image

from scheduler.messages import StepTime
from service.speed import speed_of
from service.speed_plot import plot
from tests.info import make_info


def test_a_plot_is_drawn_of_every_size(tmp_path: Path) -> None:
    times = tuple(StepTime(side**2, rows, 0.01 * rows) for side in (128, 256) for rows in (1, 4))
    for name, some in (("one.png", times[2:]), ("two.png", times)):
        plot(speed_of(make_info(step_times=some)), tmp_path / name)
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert one.size == two.size == (1500, 600)
        assert len(colours(one)) < len(colours(two))


def colours(image: Image.Image) -> set[int]:
    """The hues of what is drawn in colour, which are one for each size."""
    hue, saturation, _ = (np.asarray(band) for band in image.convert("RGB").convert("HSV").split())
    return set((hue[saturation > 150] // 16).tolist())
