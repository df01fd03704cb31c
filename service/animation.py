"""How a picture formed, as an animated GIF; the only module of the service that needs Pillow."""

import io
from collections.abc import Sequence

from PIL import Image

PREVIEW_MS = 300
PICTURE_MS = 2000
COLOURS = 256


def animate(images: Sequence[bytes]) -> bytes:
    """Image files -> one GIF of the size of the last, which is the finished picture and is shown longest."""
    *previews, picture = (_open(data) for data in images)
    frames = [_reduce(each.resize(picture.size, Image.Resampling.BICUBIC)) for each in previews] + [_reduce(picture)]
    durations = [PREVIEW_MS] * len(previews) + [PICTURE_MS]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return buffer.getvalue()


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _reduce(image: Image.Image) -> Image.Image:
    """To a palette of its own, which Pillow is given again because it dithers towards none that it has just made."""
    return image.quantize(palette=image.quantize(COLOURS), dither=Image.Dither.FLOYDSTEINBERG)
