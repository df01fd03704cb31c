"""Pixels -> JPEG, WebP or PNG bytes. Called in threads: Pillow lets go of the interpreter while it encodes."""

import io
from dataclasses import dataclass

from PIL import Image

from scheduler.engine import Pixels
from scheduler.request import GenerateParams, ImageFormat

MAX_PREVIEW_BYTES = 90_000
MIN_PREVIEW_QUALITY = 10


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image file in memory; sizes in pixels."""

    width: int
    height: int
    content_type: str
    data: bytes


def encode_preview(pixels: Pixels, params: GenerateParams) -> EncodedImage:
    """[h, w, 3] uint8 -> a file whose longest side is at most `preview_size`, small enough to send often."""
    image = Image.fromarray(pixels)
    image.thumbnail((params.preview_size, params.preview_size), Image.Resampling.BICUBIC)  # shrinks, never enlarges
    quality = params.preview_quality
    encoded = _encode(image, params.preview_format, quality)
    while len(encoded.data) > MAX_PREVIEW_BYTES and quality > MIN_PREVIEW_QUALITY:
        quality = max(MIN_PREVIEW_QUALITY, quality * 2 // 3)
        encoded = _encode(image, params.preview_format, quality)
    return encoded


def encode_image(pixels: Pixels, params: GenerateParams) -> EncodedImage:
    """[h, w, 3] uint8 -> the finished picture as a file. PNG is lossless, whatever the quality."""
    return _encode(Image.fromarray(pixels), params.image_format, params.image_quality)


def _encode(image: Image.Image, image_format: ImageFormat, quality: int) -> EncodedImage:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, quality=quality)
    return EncodedImage(image.width, image.height, f"image/{image_format}", buffer.getvalue())
