"""The whole of it: browser, service, worker and the bundled model."""

import base64
import io
import socket

import numpy as np
from PIL import Image

from tests.web.page import Page
from tests.web.server import Server

NUM_STEPS = 8
LOADING_SECONDS = 60
PICTURE_AS_PNG = """
const picture = arguments[0].querySelector("img:last-child");
const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
canvas.getContext("2d").drawImage(picture, 0, 0, 64, 64);
return canvas.toDataURL().split(",")[1];
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_postcard_paints_what_was_written(any_page: Page) -> None:
    """Also what is asked for while the model is still being loaded."""
    page = any_page
    page.tolerate("503", "readyz")
    with Server(port=free_port(), is_loaded=False) as server:
        page.driver.get(server.url)
        page.wait(lambda: page.notice == "The model is being loaded…", lambda: page.notice)
        page.set_field("num_inference_steps", NUM_STEPS)
        night = page.send("a dark night over the sea")
        night.wait_for("held")
        assert night.state == "Waiting for the model…"
        page.wait_for_sizes(LOADING_SECONDS)
        assert page.notice == ""
        day = page.generate("a bright day in the snow", num_inference_steps=NUM_STEPS)

        for card in (night, day):
            card.wait_until_painted()
            assert len(card.frames) >= 3
            assert np.std(shown(page, card.part("print"))) > 10
        assert brightness(page, night.part("print")) + 50 < brightness(page, day.part("print"))
        assert page.most_streams == 1

        assert not night.part("truncated").is_displayed()
        long = page.generate("a boat and " * 30, num_inference_steps=1)
        long.wait_until_painted()
        assert long.part("truncated").text == "The prompt is too long: its end was not read."


def shown(page: Page, frame: object) -> np.ndarray:
    """The picture in a frame -> [64, 64, 3] uint8."""
    png = base64.b64decode(page.script(PICTURE_AS_PNG, frame))
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def brightness(page: Page, frame: object) -> float:
    """0..255."""
    return float(shown(page, frame).mean())
