"""The page before a service that asks for API keys."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from service.api_keys import make_key
from tests.web.page import Page
from tests.web.server import Server

ALICE, ALICES_LINE = make_key("alice")
BOB, BOBS_LINE = make_key("bob")
LET_NO_REQUEST_OUT = "window.fetch = () => new Promise(() => {})"
ONE_STREAM = "This key may have 1 streams open at once; close one first."
NO_MORE = "The server lets no more connections in. Trying again…"


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("keys") / "keys.txt"
    path.write_text(f"{ALICES_LINE}\n{BOBS_LINE}\n")
    return path


@pytest.fixture(scope="module")
def locked(key_file: Path) -> Iterator[Server]:
    """Asks for keys; 20 steps take a second."""
    with Server("--engine", "fake", "--fake-step-ms", "40", "--api-key-file", str(key_file)) as server:
        yield server


@pytest.fixture
def page(any_page: Page, locked: Server) -> Page:
    """Without a key."""
    any_page.tolerate("401")
    any_page.visit(locked.url)
    return any_page


def enter(page: Page, key: str) -> None:
    """Into the question for a key."""
    page.wait(page.find("#key").is_displayed)
    page.find("#key").send_keys(key, Keys.ENTER)


def unsent(page: Page) -> list[str]:
    """What this tab keeps of requests that are not sent yet."""
    return list(page.script("return Object.keys(sessionStorage).filter((name) => name.includes('.unsent/'))"))


def is_asked(page: Page) -> bool:
    return page.find("#key").is_displayed()


def test_a_key_is_asked_for_once_and_what_was_begun_goes_on(page: Page) -> None:
    assert page.notice.startswith("This service asks for an API key.")
    page.type_prompt("a red boat")
    page.find("#generate").click()

    enter(page, ALICE)

    page.wait(page.cards)
    card = page.cards()[0]
    card.wait_until_painted()
    assert len(card.frames) >= 3
    assert page.notice == ""
    page.reload()
    page.wait(lambda: page.cards() and page.cards()[0].has_final_picture)
    page.generate("a blue boat", num_inference_steps=1).wait_until_painted()
    assert not is_asked(page)


def test_a_wrong_key_is_told_and_can_be_declined(page: Page) -> None:
    page.type_prompt("a red boat")
    page.find("#generate").click()
    enter(page, "lc_wrong")
    error = page.find("dialog:has(#key) .error")
    page.wait(error.is_displayed)
    assert error.text == "The service does not accept that key."
    page.find("#key").clear()
    enter(page, "wrong ключ")
    page.wait(lambda: error.text == "That is not a key.")

    page.press(Keys.ESCAPE)

    page.wait(lambda: [card.phase for card in page.cards()] == ["refused"])
    card = page.cards()[0]
    assert card.state == "This service asks for an API key."
    assert page.notice.startswith("This service asks for an API key.")
    page.find("#notice-button").click()
    enter(page, BOB)
    page.wait(lambda: page.notice == "")
    page.generate("a blue boat", num_inference_steps=1).wait_until_painted()


def test_nobody_sees_the_pictures_of_another_key(page: Page) -> None:
    page.find("#notice-button").click()
    enter(page, ALICE)
    page.wait(lambda: not is_asked(page))
    page.generate("of Alice", num_inference_steps=2).wait_until_painted()

    page.find("#key-button").click()
    enter(page, BOB)
    page.wait(lambda: not page.cards())
    page.generate("of Bob", num_inference_steps=2).wait_until_painted()
    page.reload()
    page.wait(lambda: [card.prompt for card in page.cards()] == ["of Bob"])

    page.find("#key-button").click()
    enter(page, ALICE)
    page.wait(lambda: [card.prompt for card in page.cards()] == ["of Alice"])
    page.cards()[0].wait_until_painted()


def test_a_forgotten_key_takes_its_pictures_along(page: Page) -> None:
    page.find("#notice-button").click()
    enter(page, ALICE)
    page.wait(lambda: not is_asked(page))
    page.generate("of Alice", num_inference_steps=2).wait_until_painted()

    page.find("#key-button").click()
    page.find("dialog:has(#key) .quiet").click()

    page.wait(lambda: not page.cards())
    assert page.notice.startswith("This service asks for an API key.")
    assert page.script("return Object.keys(localStorage)") == []
    page.find("#notice-button").click()
    enter(page, ALICE)
    page.wait(lambda: not is_asked(page))
    assert page.cards() == []


def test_what_was_not_sent_is_not_shown_to_another_key(page: Page) -> None:
    page.find("#notice-button").click()
    enter(page, ALICE)
    page.wait(lambda: not is_asked(page))
    page.script(LET_NO_REQUEST_OUT)
    page.send("of Alice").wait_for("sending")
    page.script("localStorage.setItem('latentcast.key', arguments[0])", BOB)

    page.reload()

    page.wait_for_sizes()
    assert page.cards() == []
    assert unsent(page) == []


def test_a_forgotten_key_takes_along_what_was_not_sent(page: Page) -> None:
    page.find("#notice-button").click()
    enter(page, ALICE)
    page.wait(lambda: not is_asked(page))
    page.script(LET_NO_REQUEST_OUT)
    page.send("of Alice").wait_for("sending")
    assert len(unsent(page)) == 1

    page.find("#key-button").click()
    page.find("dialog:has(#key) .quiet").click()

    assert unsent(page) == []


def test_where_no_more_streams_may_be_open_the_page_says_so(any_page: Page, key_file: Path) -> None:
    page = any_page
    page.tolerate("Failed to load resource", "ERR_", "WebSocket")
    flags = ("--fake-step-ms", "200", "--drain-timeout", "0", "--api-key-file", str(key_file), "--key-streams", "1")
    with Server("--engine", "fake", *flags) as server:
        page.visit(server.url)
        page.find("#live-switch").click()
        enter(page, ALICE)
        page.wait(lambda: page.find("#live-state").text == "Type, and watch.")
        card = page.generate("a red boat", num_inference_steps=50)

        page.wait(lambda: page.notice == ONE_STREAM, lambda: page.notice)
        page.find("#live-switch").click()

        page.wait(lambda: page.notice == "", lambda: page.notice)
        page.wait(lambda: card.frames)
        assert card.phase == "running"
        page.find("#live-switch").click()
        page.wait(lambda: page.find("#live-state").text == NO_MORE, lambda: page.find("#live-state").text)


def test_a_key_entered_in_one_tab_is_the_key_of_all(page: Page, locked: Server) -> None:
    page.type_prompt("a red boat")
    page.find("#generate").click()
    page.wait(lambda: is_asked(page))
    first = page.open_tab(locked.url)
    page.find("#notice-button").click()
    enter(page, ALICE)
    page.wait(lambda: not is_asked(page))

    page.turn_to(first)

    page.wait(lambda: not is_asked(page))
    page.cards()[0].wait_until_painted()


def test_pictures_form_as_one_types_with_a_key(page: Page) -> None:
    page.find("#live-switch").click()
    enter(page, ALICE)
    page.wait(lambda: not is_asked(page))

    page.type_prompt("a red boat")

    page.wait(lambda: page.find("#live-state").text == "Done", lambda: page.find("#live-state").text)


def test_the_interface_can_be_tried_with_a_key(page: Page, locked: Server) -> None:
    page.driver.get(f"{locked.url}/docs#get-v1-models")
    send = page.wait(lambda: page.find_all("#get-v1-models .try .primary"))[0]
    send.click()
    status = page.find("#get-v1-models .answer-status")
    page.wait(lambda: status.text.startswith("401"))

    page.wait(page.find("#key-button").is_displayed)
    page.find("#key-button").click()
    enter(page, ALICE)
    page.wait(lambda: not is_asked(page))
    send.click()

    page.wait(lambda: status.text.startswith("200"))
    assert '"fake"' in page.find("#get-v1-models .answer").text


def test_copied_commands_never_hold_the_key(page: Page) -> None:
    page.find("#notice-button").click()
    enter(page, ALICE)
    page.wait(lambda: not is_asked(page))
    card = page.generate("a boat", num_inference_steps=1)
    card.wait_until_painted()

    copied = {page.copied()}
    for name in ("copy-curl", "copy-python", "copy-link"):
        card.choose(name)
        page.wait(lambda: page.copied() not in copied)
        copied.add(page.copied())
        assert ALICE not in page.copied()
