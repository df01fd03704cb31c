"""Settings on their way to others: links, commands, programs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urldefrag

import pytest
from PIL import Image

from scheduler.fake_engine import colour_of
from tests.tools import require_tool
from tests.web.page import Card, Page

PROMPT = 'a "red" boat\'s sail, 100 % $HOME \\ ключ'


def make_card(page: Page) -> Card:
    """With settings that are hard to quote."""
    page.choose("size", "192x192")
    page.choose("sampler", "ddim")
    card = page.generate(PROMPT, num_inference_steps=2, guidance_scale=3.5, seed=7)
    card.wait_until_painted()
    return card


def copy(page: Page, card: Card, name: str) -> str:
    card.choose(name)
    page.wait(lambda: card.part("menu summary").text == "Copied")
    return page.copied()


@pytest.fixture
def unfolded(page: Page) -> Page:
    page.find("#more summary").click()
    return page


def test_a_link_fills_the_form_and_sends_nothing(unfolded: Page) -> None:
    page = unfolded
    link = copy(page, make_card(page), "copy-link")
    address, fragment = urldefrag(link)
    assert parse_qs(fragment)["prompt"] == [PROMPT]
    assert page.driver.current_url.startswith(address)
    page.leave()

    page.visit(link)

    names = ("prompt", "size", "num_inference_steps", "guidance_scale", "sampler", "seed", "negative_prompt")
    values = [page.value_of(name) for name in names]
    assert values == [PROMPT, "192x192", "2", "3.5", "ddim", "7", "blurry, low quality"]
    assert page.find("#filled").text == "Filled in from a link. Nothing has been sent yet."
    assert page.focused == page.find("#prompt")
    assert page.cards() == []
    assert page.script("return location.hash") == ""

    page.find("#generate").click()
    page.wait(page.cards)
    page.cards()[0].wait_until_painted()
    assert not page.find("#filled").is_displayed()


def test_a_link_opened_in_a_page_that_is_open_sends_nothing_either(page: Page) -> None:
    page.find("#live-switch").click()
    page.wait(lambda: page.find("#live-state").text == "Type, and watch.")

    page.script("location.hash = '#prompt=a+blue+house&seed=7'")

    page.wait(lambda: page.value_of("prompt") == "a blue house")
    assert page.value_of("seed") == "7"
    assert page.find("#live-state").text == "Type, and watch."


@pytest.mark.parametrize(
    "fragment", ["", "seed=7", "prompt=", "%", "prompt=a&steps=many&seed=&sampler=<b>&width=1e999"]
)
def test_a_link_that_says_little_does_no_harm(page: Page, fragment: str) -> None:
    page.script("location.hash = arguments[0]", fragment)
    page.visit(page.driver.current_url)
    page.reload()
    page.wait_for_sizes()

    assert page.value_of("num_inference_steps") in ("20", "")
    page.generate("a boat").wait_until_painted()


@pytest.mark.parametrize(("asked", "offered"), [(0, "1"), (3, "3"), (9, "4")])
def test_a_link_asks_for_no_more_pictures_than_are_offered(page: Page, asked: int, offered: str) -> None:
    page.script("location.hash = arguments[0]", f"prompt=a&pictures={asked}")

    page.wait(lambda: page.value_of("prompt") == "a")
    assert page.value_of("num_images") == offered


def test_the_command_watches_the_same_picture(unfolded: Page) -> None:
    command = copy(unfolded, make_card(unfolded), "copy-curl")
    require_tool("curl")

    result = subprocess.run(["sh", "-c", command], capture_output=True, check=True, text=True, timeout=60)

    events = [json.loads(line.removeprefix("data: ")) for line in result.stdout.splitlines() if line.startswith("data")]
    assert (events[-1]["step"], events[-1]["seed"]) == (2, 7)
    assert (events[-1]["images"][0]["width"], events[-1]["images"][0]["height"]) == (192, 192)


def test_the_program_saves_the_same_pictures(unfolded: Page, tmp_path: Path) -> None:
    unfolded.choose("num_images", 2)
    program = copy(unfolded, make_card(unfolded), "copy-python")

    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=dict(os.environ), check=True, timeout=60)

    for number in range(2):
        with Image.open(tmp_path / f"picture-{number}.jpeg") as image:
            assert image.size == (192, 192)
            assert image.convert("RGB").getpixel((96, 96)) == pytest.approx(colour_of(7 + number), abs=4)
