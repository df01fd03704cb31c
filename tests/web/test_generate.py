"""Asking for pictures and watching them form."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.by import By

from scheduler.fake_engine import FAILING_PROMPT, colour_of
from tests.web.page import Page
from tests.web.server import Server

ABOUT = re.compile(r"about \d+ s")
STEP = re.compile(r"Step \d+ of 50")


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
    assert page.streams_ever == 1


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


def test_several_pictures_form_side_by_side(page: Page, downloads: Path) -> None:
    page.choose("num_images", 3)
    card = page.generate("a boat", num_inference_steps=12, seed=2**32 - 2)
    page.wait(lambda: len(card.element.find_elements(By.CSS_SELECTOR, ".print img")) >= 3)
    assert card.phase == "running"

    page.wait(lambda: len(card.final_pictures) == 3, lambda: card.state)
    names = [picture.accessible_name for picture in card.final_pictures]
    assert names == ["a boat, 1 of 3", "a boat, 2 of 3", "a boat, 3 of 3"]
    assert card.part("seed").text == "seeds 4294967294 to 0"
    assert page.find("#tally").text == "1 done"

    links = card.element.find_elements(By.CSS_SELECTOR, ".download")
    assert [link.text for link in links] == ["1", "2", "3"]
    links[2].click()
    file = downloads / "a-boat-0.jpg"
    page.wait(file.exists, lambda: list(downloads.iterdir()))
    with Image.open(file) as image:
        assert image.convert("RGB").getpixel((128, 128)) == pytest.approx(colour_of(0), abs=4)


def test_several_pictures_come_back_after_a_reload(page: Page) -> None:
    page.choose("num_images", 2)
    page.generate("a boat", num_inference_steps=2).wait_until_painted()

    page.reload()

    page.wait(lambda: page.cards() and len(page.cards()[0].final_pictures) == 2)


def test_how_long_it_takes_is_told_from_its_pace_of_late(page: Page) -> None:
    script = """
        const done = arguments[arguments.length - 1];
        import("./web/generation.js").then(({ Generation }) => {
            const generation = new Generation({ prompt: "a" });
            const start = Date.now();
            const tell = (step, seconds) => {
                Date.now = () => start + 1000 * seconds;
                generation.advance({ image_index: 0, step, total_steps: 50 });
            };
            tell(1, 100);  // an old one
            const early = generation.secondsLeft(Date.now());
            for (let step = 2; step <= 5; step++) {
                tell(step, 100 + step);
            }
            const steady = generation.secondsLeft(Date.now());
            for (let step = 6; step <= 30; step++) {
                tell(step, 1000 + step);  // it stood still for a while
            }
            done([early, steady, generation.secondsLeft(Date.now()), generation.secondsLeft(Date.now() + 5000)]);
        });
    """
    assert page.driver.execute_async_script(script) == [None, 45, 20, 15]


def test_an_estimate_in_words(page: Page) -> None:
    script = 'import("./web/words.js").then(({ about }) => arguments[1](arguments[0].map(about)))'
    words = page.driver.execute_async_script(script, [0.2, 59, 59.5, 64.1, 3600, 3725])
    assert words == ["about 1 s", "about 59 s", "about 1 min", "about 1 min 5 s", "about 1 h", "about 1 h 2 min"]


def test_a_picture_of_several_is_as_far_as_all_of_them_on_average(page: Page) -> None:
    script = """
        const done = arguments[arguments.length - 1];
        import("./web/generation.js").then(({ Generation }) => {
            const generation = new Generation({ prompt: "a", num_images: 2 });
            generation.advance({ image_index: 0, step: 5, total_steps: 20 });
            const split = generation.step;
            generation.advance({ image_index: 1, step: 5, total_steps: 20 });
            done([split, generation.step]);
        });
    """
    assert page.driver.execute_async_script(script) == [3, 5]


def test_eight_at_once_are_eight_pictures(page: Page) -> None:
    page.choose("num_images", 4)
    page.set_field("num_inference_steps", 1)

    page.find("#eight").click()

    page.wait(lambda: len(page.cards()) == 8)
    for card in page.cards():
        card.wait_until_painted()
        assert len(card.final_pictures) == 1


def test_a_sampler_can_be_chosen(page: Page) -> None:
    page.find("#more summary").click()
    names = [option.text for option in page.find_all("#sampler option")]
    assert names == ["Standard, Euler", "Euler", "Euler ancestral", "DPM++ 2M", "DDIM", "UniPC", "LCM"]
    page.script(
        "sent = null; const real = fetch; fetch = (url, options) => (sent = options?.body ?? sent, real(url, options))"
    )
    page.generate("a boat", num_inference_steps=1).wait_until_painted()
    assert "sampler" not in page.script("return JSON.parse(sent)")
    page.choose("sampler", "lcm")
    page.find("#generate").click()
    page.wait(lambda: len(page.cards()) == 2)
    assert page.script("return JSON.parse(sent).sampler") == "lcm"


def test_cancel_stops_a_picture(page: Page) -> None:
    card = page.generate("a slow boat", num_inference_steps=50)
    card.wait_for("running")

    card.click("cancel")

    card.wait_for("cancelled")
    assert card.state == "Cancelled"
    page.wait(lambda: page.open_streams == 0)


def test_a_cancelled_picture_can_be_tried_again_with_its_seed(page: Page) -> None:
    card = page.generate("a slow boat", num_inference_steps=50)
    card.wait_for("running")
    seed = card.part("seed").text
    card.click("cancel")
    card.wait_for("cancelled")

    card.click("retry")

    card.wait_until_painted()
    assert card.part("seed").text == seed
    assert len(page.cards()) == 1


def test_a_picture_can_be_painted_again_with_a_new_seed(page: Page) -> None:
    first = page.generate("a boat", num_inference_steps=2, seed=7)
    first.wait_until_painted()

    first.click("reseed")

    page.wait(lambda: len(page.cards()) == 2)
    second = page.cards()[0]
    second.wait_until_painted()
    assert second.prompt == "a boat"
    assert (first.part("seed").text, second.part("seed").text != "seed 7") == ("seed 7", True)


def test_a_picture_sharpens_without_flicker(page: Page) -> None:
    card = page.generate("a red boat", num_inference_steps=30)

    card.wait_until_painted()

    assert len(card.frames) >= 4
    assert page.flickers == 0
    page.wait(lambda: len(card.element.find_elements(By.CSS_SELECTOR, ".print img")) == 1)


def test_what_waits_tells_its_place_and_when_it_will_be_done(any_page: Page) -> None:
    page = any_page
    page.tolerate("readyz", "ERR_")
    flags = ("--fake-step-ms", "200", "--max-rows", "2", "--drain-timeout", "0")
    with Server("--engine", "fake", *flags) as server:
        page.visit(server.url)
        first = page.generate("a red boat", num_inference_steps=50)
        first.wait_for("running")
        second, third = page.generate("a blue boat"), page.generate("a green boat")

        page.wait(lambda: second.state == "Position 1" and ABOUT.fullmatch(second.left), lambda: second.state)
        page.wait(lambda: third.state == "Position 2" and ABOUT.fullmatch(third.left), lambda: third.state)
        page.wait(lambda: STEP.fullmatch(first.state) and ABOUT.fullmatch(first.left), lambda: first.state)

        first.click("cancel")
        second.wait_for("running")
        page.wait(lambda: third.state == "Position 1", lambda: third.state)


def test_eight_at_once_share_one_stream(page: Page) -> None:
    page.find("#eight-empty").click()

    page.wait(lambda: len(page.cards()) == 8)
    cards = page.cards()
    assert len({card.prompt for card in cards}) == 8
    for card in cards:
        card.wait_until_painted()
        assert len(card.frames) >= 3
    assert "8 forming" in page.told("tally")
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
    page.find("#more summary").click()
    page.choose("size", "192x192")
    page.choose("num_images", 2)
    page.choose("sampler", "ddim")
    card = page.generate("a green cactus", num_inference_steps=2, guidance_scale=3.5, seed=9)
    card.wait_until_painted()
    page.reload()
    page.wait(lambda: page.cards() and page.cards()[0].has_final_picture)
    page.wait(lambda: page.find_all("#size option[value='192x192']"))

    page.cards()[0].choose("reuse")

    names = ("prompt", "size", "num_inference_steps", "guidance_scale", "num_images", "sampler", "seed")
    values = [page.value_of(name) for name in names]
    assert values == ["a green cactus", "192x192", "2", "3.5", "2", "ddim", "9"]


def test_the_seed_can_be_copied(page: Page) -> None:
    card = page.generate("a boat", num_inference_steps=1)
    card.wait_until_painted()
    seed = card.part("seed").text.removeprefix("seed ")

    card.click("seed")

    page.wait(lambda: card.part("seed").text == "seed copied")
    assert page.copied() == seed


def test_a_card_can_be_removed(page: Page) -> None:
    page.generate("a boat", num_inference_steps=1).wait_until_painted()

    page.cards()[0].click("remove")

    assert page.cards() == []
    assert page.find("#empty").is_displayed()


def test_all_that_is_over_can_be_cleared(page: Page) -> None:
    page.generate("a boat", num_inference_steps=1).wait_until_painted()
    slow = page.generate("a slow boat", num_inference_steps=50)
    slow.wait_for("running")

    page.find("#clear").click()
    page.find("#clear-dialog button.secondary").click()
    assert len(page.cards()) == 2
    page.find("#clear").click()
    page.find("#clear-dialog button.primary").click()

    page.wait(lambda: len(page.cards()) == 1)
    assert slow.phase == "running"
    assert not page.find("#clear").is_displayed()
    slow.click("cancel")


def test_a_failure_is_told_in_the_servers_words(page: Page) -> None:
    card = page.generate(FAILING_PROMPT)

    card.wait_for("failed")
    assert "the fake engine was asked to fail this request" in card.state
    assert card.part("retry").is_displayed()
