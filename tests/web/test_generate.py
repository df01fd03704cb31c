"""Asking for pictures and watching them form."""

from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from scheduler.fake_engine import FAILING_PROMPT, colour_of
from tests.web.page import Page


def test_a_picture_forms_after_typing_and_clicking(page: Page) -> None:
    card = page.generate("a red boat on the sea", num_inference_steps=12)

    card.wait_until_painted()

    assert card.prompt == "a red boat on the sea"
    assert card.state.startswith("Done in ")
    previews = [source for source in card.frames if source.startswith("data:image/jpeg")]
    assert len(previews) >= 2
    assert card.frames[-1].startswith("blob:")
    assert all(before <= after for before, after in pairwise(card.steps))
    assert {0, 12} < set(card.steps)


def test_an_example_fills_the_prompt(page: Page) -> None:
    chip = page.find("#examples button")
    chip.click()

    prompt = page.find("#prompt")
    assert prompt.get_property("value") == chip.get_attribute("title")
    assert prompt == page.driver.switch_to.active_element


def test_settings_reach_the_server(page: Page) -> None:
    page.find("#more summary").click()
    page.find("#size option[value='320x192']").click()

    card = page.generate("a white house", num_inference_steps=3, seed=7, guidance_scale=1, negative_prompt="fog")

    card.wait_until_painted()
    assert card.part("size").text == "320 × 192"
    assert card.part("seed").text == "seed 7"
    picture = card.element.find_element(By.CSS_SELECTOR, "img.final")
    assert (picture.get_property("naturalWidth"), picture.get_property("naturalHeight")) == (320, 192)


def test_a_custom_size(page: Page) -> None:
    page.find("#size option[value='custom']").click()

    card = page.generate("a white house", num_inference_steps=1, width=128, height=96)

    card.wait_until_painted()
    assert card.part("size").text == "128 × 96"


def test_the_finished_picture_can_be_downloaded(page: Page, downloads: Path) -> None:
    card = page.generate("a red boat, at sunset!", num_inference_steps=2, seed=42)
    card.wait_until_painted()

    card.click("download")

    file = downloads / "a-red-boat-at-sunset-42.jpg"
    page.wait(file.exists, lambda: list(downloads.iterdir()))
    with Image.open(file) as image:
        assert image.format == "JPEG"
        assert image.size == (256, 256)
        assert image.convert("RGB").getpixel((128, 128)) == pytest.approx(colour_of(42), abs=4)


def test_cancel_stops_a_picture(page: Page) -> None:
    card = page.generate("a slow boat", num_inference_steps=50)
    card.wait_for("running")

    card.click("cancel")

    card.wait_for("cancelled")
    assert card.state == "Cancelled"
    page.wait(lambda: page.open_streams == 0)


def test_a_cancelled_picture_can_be_tried_again(page: Page) -> None:
    card = page.generate("a slow boat", num_inference_steps=20)
    card.wait_for("running")
    card.click("cancel")
    card.wait_for("cancelled")

    card.click("retry")

    card.wait_until_painted()


def test_eight_at_once_share_one_stream(page: Page) -> None:
    page.find("#eight-empty").click()

    page.wait(lambda: len(page.cards()) == 8)
    cards = page.cards()
    assert len({card.prompt for card in cards}) == 8
    for card in cards:
        card.wait_until_painted()
        assert len(card.frames) >= 3
    assert "8 forming" in page.tallies
    assert page.most_streams == 1
    assert page.open_streams == 0
    assert page.find("#tally").text == "8 done"


def test_a_second_request_joins_the_first(page: Page) -> None:
    first = page.generate("a red boat", num_inference_steps=40)
    first.wait_for("running")

    second = page.generate("a blue house", num_inference_steps=3)

    second.wait_until_painted()
    assert first.phase == "running"
    first.wait_until_painted()
    assert page.most_streams == 1


def test_reuse_fills_the_form(page: Page) -> None:
    page.find("#size option[value='192x192']").click()
    card = page.generate("a green cactus", num_inference_steps=2, guidance_scale=3.5, seed=9)
    card.wait_until_painted()
    page.reload()
    page.wait(lambda: page.cards() and page.cards()[0].has_final_picture)
    page.wait(lambda: page.find_all("#size option[value='192x192']"))

    page.cards()[0].click("reuse")

    names = ("prompt", "size", "num_inference_steps", "guidance_scale", "seed")
    values = [page.find(f"[name={name}]").get_property("value") for name in names]
    assert values == ["a green cactus", "192x192", "2", "3.5", "9"]


def test_the_seed_can_be_copied(page: Page) -> None:
    card = page.generate("a boat", num_inference_steps=1)
    card.wait_until_painted()
    seed = card.part("seed").text.removeprefix("seed ")

    card.click("seed")

    page.wait(lambda: card.part("seed").text == "seed copied")
    page.find("#prompt").clear()
    page.find("#prompt").send_keys(Keys.CONTROL, "v")
    assert page.find("#prompt").get_property("value") == seed


def test_a_card_can_be_removed(page: Page) -> None:
    page.generate("a boat", num_inference_steps=1).wait_until_painted()

    page.cards()[0].click("remove")

    assert page.cards() == []
    assert page.find("#empty").is_displayed()


def test_a_failure_is_told_in_the_servers_words(page: Page) -> None:
    card = page.generate(FAILING_PROMPT)

    card.wait_for("failed")
    assert "the fake engine was asked to fail this request" in card.state
    assert card.part("retry").is_displayed()
