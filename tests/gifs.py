"""What is in an animated GIF."""

import io
from pathlib import Path

from PIL import Image, ImageSequence

from tests.service.harness import is_picture_of

Frame = tuple[tuple[int, int], int]
"""Size in pixels, and milliseconds for which it is shown."""


def frames_of(path: Path) -> list[Frame]:
    with Image.open(path) as image:
        return [(frame.size, frame.info["duration"]) for frame in ImageSequence.Iterator(image)]


def last_frame_is_of(seed: int, path: Path) -> bool:
    """Whether it ends in the finished picture of the fake engine."""
    with Image.open(path) as image:
        frame = list(ImageSequence.all_frames(image))[-1]
    buffer = io.BytesIO()
    frame.convert("RGB").save(buffer, "PNG")
    return is_picture_of(seed, buffer.getvalue())
