"""The whole of it: browser, service, worker and the bundled model."""

import base64
import io

import numpy as np
from PIL import Image

from tests.web.page import Page
from tests.web.server import Server

NUM_STEPS = 8
PICTURE_AS_PNG = """
const picture = arguments[0].querySelector("img:last-child");
const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
canvas.getContext("2d").drawImage(picture, 0, 0, 64, 64);
return canvas.toDataURL().split(",")[1];
"""


def test_postcard_paints_what_was_written(any_page: Page) -> None:
    page = any_page
    with Server() as server:
        page.visit(server.url)
        night = page.generate("a dark night over the sea", num_inference_steps=NUM_STEPS)
        day = page.generate("a bright day in the snow", num_inference_steps=NUM_STEPS)

        for card in (night, day):
            card.wait_until_painted()
            assert len(card.frames) >= 3
            assert np.std(shown(page, card.part("print"))) > 10
        assert brightness(page, night.part("print")) + 50 < brightness(page, day.part("print"))
        assert page.most_streams == 1


def shown(page: Page, frame: object) -> np.ndarray:
    """The picture in a frame -> [64, 64, 3] uint8."""
    png = base64.b64decode(page.script(PICTURE_AS_PNG, frame))
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def brightness(page: Page, frame: object) -> float:
    """0..255."""
    return float(shown(page, frame).mean())
