"""Keyboard, small screens, colour schemes, screen readers."""

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.web.page import Page


def press(page: Page, *keys: str, holding: str = "") -> None:
    actions = ActionChains(page.driver)
    for key in holding:
        actions.key_down(key)
    actions.send_keys(*keys)
    for key in holding:
        actions.key_up(key)
    actions.perform()


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until that element has the focus, and see that the focus shows."""
    for _ in range(60):
        press(page, Keys.TAB)
        if page.script("return document.activeElement.matches(arguments[0])", selector):
            style = "return getComputedStyle(document.activeElement).outlineStyle"
            assert page.script(style) != "none"
            return
    pytest.fail(f"Tab never reaches {selector}")


def test_all_of_it_works_from_the_keyboard(page: Page) -> None:
    tab_to(page, "#prompt")
    press(page, "a slow boat")
    tab_to(page, "#steps")
    press(page, Keys.BACKSPACE * 2, "50")
    press(page, Keys.ENTER, holding=Keys.CONTROL)
    page.wait(page.cards)
    slow = page.cards()[0]
    slow.wait_for("running")

    tab_to(page, ".cancel")
    press(page, Keys.ENTER)
    slow.wait_for("cancelled")

    tab_to(page, ".remove")
    press(page, Keys.ENTER)
    page.wait(lambda: not page.cards())
    assert page.driver.switch_to.active_element == page.find("#prompt")

    press(page, Keys.ENTER, holding=Keys.SHIFT)
    press(page, "at night")
    assert not page.cards()
    assert page.find("#prompt").get_property("value") == "a slow boat\nat night"
    tab_to(page, "#steps")
    press(page, Keys.BACKSPACE * 2, "2", Keys.ENTER)
    page.wait(page.cards)
    page.cards()[0].wait_until_painted()


def test_enter_in_the_prompt_generates(page: Page) -> None:
    page.type_prompt("a red boat")
    page.find("#prompt").send_keys(Keys.ENTER)

    page.wait(page.cards)
    assert page.cards()[0].prompt == "a red boat"
    assert page.driver.switch_to.active_element == page.find("#prompt")


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


def test_nothing_moves_for_those_who_asked_for_stillness(page: Page) -> None:
    page.emulate(prefers_reduced_motion="reduce")
    card = page.generate("a red boat", num_inference_steps=20)
    page.wait(lambda: len(card.frames) >= 3)

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


def test_progress_is_told_without_sight(page: Page) -> None:
    assert page.find("#tally").get_attribute("aria-live") == "polite"

    page.generate("a red boat", num_inference_steps=1).wait_until_painted()

    assert page.find("#tally").text == "1 done"
