"""A picture held up close."""

from selenium.webdriver.common.keys import Keys

from tests.web.page import Page


def caption(page: Page) -> str:
    return page.find("#viewer-caption").text


def test_a_picture_is_seen_large_and_the_arrows_lead_to_the_others(page: Page) -> None:
    for prompt in ("a red boat", "a blue house"):
        page.generate(prompt, num_inference_steps=2).wait_until_painted()
    card = page.cards()[0]

    card.click("print")

    page.wait(lambda: page.find_all("#viewer .large img"))
    assert caption(page) == "a blue house"
    assert page.find("#viewer .large").size["width"] > 2 * card.part("print").size["width"]
    page.press(Keys.ARROW_RIGHT)
    page.wait(lambda: caption(page) == "a red boat")
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    page.wait(lambda: caption(page) == "a blue house")
    page.press(Keys.ESCAPE)
    page.wait(lambda: not page.find("#viewer").is_displayed())
    assert page.focused == card.part("print")


def test_a_picture_goes_on_forming_while_it_is_seen_large(page: Page) -> None:
    card = page.generate("a red boat", num_inference_steps=50)
    page.wait(lambda: len(card.frames) >= 2)

    card.part("print").send_keys(Keys.ENTER)

    page.wait(lambda: caption(page).startswith("a red boat, forming: step "))
    first = caption(page)
    page.wait(lambda: caption(page) not in ("", first))
    page.wait(lambda: caption(page) == "a red boat", lambda: caption(page))
    page.wait(lambda: page.find("#viewer .large img.final"))


def test_a_long_prompt_makes_it_no_wider(page: Page) -> None:
    page.generate("a red boat " * 20, num_inference_steps=1).wait_until_painted()
    page.cards()[0].click("print")
    page.wait(lambda: page.find_all("#viewer .large img"))

    line = page.find("#viewer-caption")
    assert line.size["width"] == page.find("#viewer .large").size["width"]
    assert page.script("return arguments[0].scrollWidth > arguments[0].clientWidth", line)


def test_it_fits_every_window(page: Page) -> None:
    page.find("#size option[value='320x192']").click()
    page.generate("a red boat", num_inference_steps=1).wait_until_painted()
    page.cards()[0].click("print")
    page.wait(lambda: page.find_all("#viewer .large img"))

    for width, height in ((320, 640), (640, 320), (1280, 900)):
        page.resize(width, height, is_phone=width < 500)
        box = page.script("return document.getElementById('viewer').getBoundingClientRect().toJSON()")
        assert (box["left"] >= 0, box["top"] >= 0) == (True, True)
        assert (box["right"] <= width, box["bottom"] <= height) == (True, True)
        assert page.script("const d = document.getElementById('viewer'); return d.scrollHeight <= d.clientHeight")
