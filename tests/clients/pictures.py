"""Whether what a client got is a picture."""

import base64
import io

from PIL import Image


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height in pixels. Raises an error for what is no picture, or half of one."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.size


def format_of(data: bytes) -> str:
    """`jpeg`, `png` or `webp`."""
    with Image.open(io.BytesIO(data)) as image:
        return str(image.format).lower()


def from_data_url(url: str) -> bytes:
    head, _, encoded = url.partition(",")
    assert head.startswith("data:image/")
    assert head.endswith(";base64")
    return base64.b64decode(encoded, validate=True)
