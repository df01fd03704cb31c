import io

import numpy as np
import pytest
from PIL import Image

from scheduler.engine import Pixels
from scheduler.images import MAX_PREVIEW_BYTES, encode_image, encode_preview
from tests.scheduler.harness import make_params


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "preview_size", "expected"),
    [(64, 64, 512, (64, 64)), (256, 256, 64, (64, 64)), (128, 512, 128, (128, 32)), (512, 128, 128, (32, 128))],
)
def test_a_preview_is_made_smaller_but_never_larger(
    height: int, width: int, preview_size: int, expected: tuple[int, int]
) -> None:
    encoded = encode_preview(noise(height, width), make_params(preview_size=preview_size))
    assert (encoded.width, encoded.height) == expected
    assert Image.open(io.BytesIO(encoded.data)).size == expected


@pytest.mark.parametrize("preview_format", ["jpeg", "webp"])
def test_a_preview_too_heavy_to_send_often_loses_quality(preview_format: str) -> None:
    params = make_params(preview_format=preview_format, preview_quality=95, preview_size=512)
    encoded = encode_preview(noise(400, 400), params)
    assert len(encoded.data) <= MAX_PREVIEW_BYTES
    assert encoded.content_type == f"image/{preview_format}"


def test_a_light_preview_keeps_its_quality() -> None:
    pixels = noise(64, 64)
    fine, coarse = (encode_preview(pixels, make_params(preview_quality=quality)) for quality in (90, 30))
    assert len(fine.data) > 2 * len(coarse.data)


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_the_final_image_has_the_format_that_was_asked_for(image_format: str) -> None:
    encoded = encode_image(noise(48, 64), make_params(image_format=image_format, preview_size=16))
    image = Image.open(io.BytesIO(encoded.data))
    assert (encoded.width, encoded.height, encoded.content_type) == (64, 48, f"image/{image_format}")
    assert (image.size, image.format) == ((64, 48), image_format.upper())


def test_png_keeps_every_pixel() -> None:
    pixels = noise(32, 32)
    data = encode_image(pixels, make_params(image_format="png")).data
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
