"""The page as the README shows it: `make screenshots` runs this and puts the pictures into docs/."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.web.page import Page
from tests.web.server import Server

DOCS = Path(__file__).parents[2] / "docs"
WIDE = (1280, 880)
PHONE = (390, 844)
FORMED = 10  # steps of the pictures that are shown while they form
SEED = 11
PHONE_PROMPTS = (
    "three orange trees in a green field at sunset",
    "a boat with a pink sail on the sea in a storm",
    "a blue house in the snow at night, with the moon",
    "a white house in a green field under a blue sky, with clouds",
)

Shoot = Callable[[str], None]


@pytest.fixture(scope="module")
def postcard() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def page(any_page: Page, postcard: Server) -> Page:
    any_page.visit(postcard.url)
    return any_page


@pytest.fixture
def shoot(page: Page) -> Shoot:
    """Saves what the browser shows under a name."""

    def save(name: str) -> None:
        path = DOCS / f"{name}.png"
        page.driver.save_screenshot(str(path))
        with Image.open(path) as image:
            assert image.size in (WIDE, PHONE)
            image.convert("RGB").save(path, optimize=True)

    return save


def test_eight_pictures_form_at_once(page: Page, shoot: Shoot) -> None:
    page.resize(*WIDE)
    page.emulate(prefers_color_scheme="light")
    page.find("#eight").click()

    page.wait(lambda: page.tally == "8 forming" and min(page.steps_shown) >= FORMED, lambda: page.tally)
    page.script("scrollTo(0, 0)")
    shoot("page")


def test_a_picture_follows_the_words(page: Page, shoot: Shoot) -> None:
    page.resize(*WIDE)
    page.emulate(prefers_color_scheme="dark")
    page.set_field("seed", SEED)
    page.find("#live-switch").click()
    page.type_prompt("a boat with a yellow sail on a lake by day, with snowy mountains")

    page.wait(lambda: page.find("#live-state").text == "Done")
    shoot("page-live")


def test_it_fits_a_phone(page: Page, shoot: Shoot) -> None:
    page.resize(*PHONE, is_phone=True)
    page.emulate(prefers_color_scheme="light")
    page.set_field("seed", SEED)
    cards = [page.send(prompt) for prompt in PHONE_PROMPTS]
    for card in cards:
        card.wait_until_painted()

    page.script("document.querySelector('.gallery').scrollIntoView()")
    shoot("page-phone")
