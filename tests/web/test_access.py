"""Keyboard, small screens, colour schemes, screen readers."""

from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from scheduler.fake_engine import FAILING_PROMPT
from tests.web.page import Page

CONTRAST = Path(__file__).with_name("contrast.js")
LEAST_FOR_WORDS, LEAST_FOR_EDGES = 4.5, 3  # WCAG 2.2, level AA: 1.4.3 and 1.4.11


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until that element has the focus, and see that the focus shows."""
    for _ in range(80):
        page.press(Keys.TAB)
        if page.script("return document.activeElement.matches(arguments[0])", selector):
            style = "return getComputedStyle(document.activeElement).outlineStyle"
            assert page.script(style) != "none"
            return
    pytest.fail(f"Tab never reaches {selector}")


def test_all_of_it_works_from_the_keyboard(page: Page) -> None:
    tab_to(page, "#prompt")
    page.press("a slow boat")
    tab_to(page, "#steps")
    page.press(Keys.BACKSPACE * 2, "50")
    page.press(Keys.ENTER, holding=Keys.CONTROL)
    page.wait(page.cards)
    slow = page.cards()[0]
    slow.wait_for("running")

    tab_to(page, ".cancel")
    page.press(Keys.ENTER)
    slow.wait_for("cancelled")

    tab_to(page, ".remove")
    page.press(Keys.ENTER)
    page.wait(lambda: not page.cards())
    assert page.focused == page.find("#prompt")

    page.press(Keys.ENTER, holding=Keys.SHIFT)
    page.press("at night")
    assert not page.cards()
    assert page.find("#prompt").get_property("value") == "a slow boat\nat night"
    tab_to(page, "#steps")
    page.press(Keys.BACKSPACE * 2, "2", Keys.ENTER)
    page.wait(page.cards)
    page.cards()[0].wait_until_painted()


def test_enter_in_the_prompt_generates(page: Page) -> None:
    page.type_prompt("a red boat")
    page.find("#prompt").send_keys(Keys.ENTER)

    page.wait(page.cards)
    assert page.cards()[0].prompt == "a red boat"
    assert page.focused == page.find("#prompt")


def test_nothing_scrolls_sideways(page: Page) -> None:
    page.find("#more summary").click()
    page.find("#size option[value='custom']").click()
    page.find("#eight").click()
    page.wait(lambda: len(page.cards()) == 8)
    page.generate("unbreakable" * 20, num_inference_steps=1).wait_until_painted()

    for width in (320, 360, 390, 768, 900, 1280):
        page.resize(width, 800, is_phone=width < 500)
        room, needed = page.script("return [innerWidth, document.documentElement.scrollWidth]")
        assert needed <= room <= width


def test_the_colours_follow_the_readers_wish(page: Page) -> None:
    def brightness() -> int:
        return int(page.script("return +getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]"))

    page.emulate(prefers_color_scheme="light")
    assert brightness() > 200
    page.emulate(prefers_color_scheme="dark")
    assert brightness() < 60


def test_words_run_in_their_own_direction(page: Page) -> None:
    card = page.generate("قارب أحمر على البحر", num_inference_steps=1)
    direction = "return getComputedStyle(arguments[0]).direction"

    for element in (page.find("#prompt"), card.part("prompt")):
        assert page.script(direction, element) == "rtl"
    page.type_prompt("a red boat")
    assert page.script(direction, page.find("#prompt")) == "ltr"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_fields_stand_out_from_their_ground(page: Page, scheme: str) -> None:
    page.emulate(prefers_color_scheme=scheme)
    page.generate(FAILING_PROMPT).wait_for("failed")
    page.generate("a red boat", num_inference_steps=1).wait_until_painted()
    page.find("#more summary").click()
    page.find("#live-switch").click()

    faint = page.script(CONTRAST.read_text(), LEAST_FOR_WORDS, LEAST_FOR_EDGES)

    assert faint == []


def test_nothing_moves_for_those_who_asked_for_stillness(page: Page) -> None:
    page.emulate(prefers_reduced_motion="reduce")
    card = page.generate("a red boat", num_inference_steps=20)
    page.wait(lambda: len(card.frames) >= 3)

    page.find("#live-switch").click()
    moving = "return document.getAnimations().filter((one) => one.effect.getTiming().duration > 0).length"
    assert page.script(moving) == 0
    card.wait_until_painted()


def test_everything_has_a_name(page: Page) -> None:
    page.generate("a red boat", num_inference_steps=1).wait_until_painted()
    page.find("#more summary").click()

    controls = page.find_all("input, textarea, select, button, a[href], progress, img")
    nameless = [one.get_attribute("outerHTML") for one in controls if one.is_displayed() and not one.accessible_name]
    assert nameless == []
    assert page.cards()[0].part("remove").accessible_name == "Remove: a red boat"
    assert page.find(".card img").accessible_name == "a red boat"


def test_what_happens_is_told_without_sight(page: Page) -> None:
    assert page.find("#announcer").get_attribute("aria-live") == "polite"

    card = page.generate("a red boat", num_inference_steps=20)
    page.wait(lambda: "In line: a red boat" in page.told("announcer"))
    card.wait_until_painted()
    page.wait(lambda: page.told("announcer")[-1] == "Finished: a red boat")

    card.click("remove")
    card = page.generate(FAILING_PROMPT)
    card.wait_for("failed")
    page.wait(lambda: page.told("announcer")[-1].endswith(f"Failed: {FAILING_PROMPT}"), lambda: page.told("announcer"))


def test_what_happens_together_is_told_together(page: Page) -> None:
    page.set_field("num_inference_steps", 50)
    page.find("#eight").click()

    page.wait(lambda: max(text.count("In line: ") for text in page.told("announcer")) == 8)


def test_the_title_tells_what_goes_on(page: Page) -> None:
    card = page.generate("a red boat", num_inference_steps=40)
    card.wait_for("running")
    assert page.driver.title == "1 forming · Latentcast"
    card.click("cancel")
    card.wait_for("cancelled")
    assert page.driver.title == "Latentcast"


def test_the_reader_may_choose_the_colours(page: Page) -> None:
    def is_dark() -> bool:
        return int(page.script("return +getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")) < 60

    page.emulate(prefers_color_scheme="light")
    button = page.find("#theme-button")
    assert button.accessible_name == "Colours: as the system has them"
    button.click()
    assert is_dark()
    assert button.accessible_name == "Colours: dark"

    page.reload()
    assert is_dark()

    page.emulate(prefers_color_scheme="dark")
    page.find("#theme-button").click()
    assert not is_dark()
    page.find("#theme-button").click()
    assert is_dark()
    assert page.find("#theme-button").accessible_name == "Colours: as the system has them"


def test_single_keys_lead_everywhere(page: Page) -> None:
    page.press("?")
    assert page.find("#help").is_displayed()
    page.press(Keys.ESCAPE)
    assert not page.find("#help").is_displayed()

    page.press("/", "a slow boat", Keys.ENTER)
    page.wait(page.cards)
    slow = page.cards()[0]
    slow.wait_for("running")
    page.script("document.activeElement.blur()")
    page.press("j")
    assert page.focused == slow.part("prompt")
    page.press("c")
    slow.wait_for("cancelled")
    page.press("n")
    page.wait(lambda: len(page.cards()) == 2)
    page.press("k")
    page.cards()[0].wait_until_painted()
    page.press("d")
    page.wait(lambda: list(page.downloads.iterdir()))
    page.press(Keys.DELETE)
    page.wait(lambda: len(page.cards()) == 1)
    assert page.focused == page.cards()[0].part("prompt")
    page.press("r")
    page.cards()[0].wait_until_painted()


def test_single_keys_are_letters_in_a_field_and_can_be_turned_off(page: Page) -> None:
    page.find("#prompt").send_keys("jk/?")
    assert page.value_of("prompt") == "jk/?"
    assert not page.find("#help").is_displayed()

    page.find("#help-button").click()
    page.find("#shortcuts").click()
    page.press(Keys.ESCAPE, "/")
    assert page.focused != page.find("#prompt")
    page.reload()
    page.press("?")
    assert not page.find("#help").is_displayed()


def test_the_menu_of_a_picture_is_in_sight(page: Page) -> None:
    for prompt in ("a red boat", "a blue house"):
        page.generate(prompt, num_inference_steps=1).wait_until_painted()

    for width in (320, 390, 1280):
        page.resize(width, 900, is_phone=width < 500)
        for card in page.cards():
            card.click("menu summary")
            box = page.script("return arguments[0].getBoundingClientRect().toJSON()", card.part("menu-list"))
            assert box["left"] >= 0
            assert box["right"] <= width
            page.press(Keys.ESCAPE)


def test_the_menu_of_a_picture_works_from_the_keyboard(page: Page) -> None:
    card = page.generate("a red boat", num_inference_steps=2)
    card.wait_until_painted()
    page.find("#prompt").clear()

    tab_to(page, ".menu summary")
    page.press(Keys.ENTER)
    assert card.has("reuse")
    page.press(Keys.ESCAPE)
    assert not card.has("reuse")
    assert page.focused == card.part("menu summary")
    page.press(Keys.ENTER)
    tab_to(page, ".reuse")
    page.press(Keys.ENTER)

    assert page.value_of("prompt") == "a red boat"
    assert page.focused == page.find("#prompt")
    assert not card.has("reuse")
