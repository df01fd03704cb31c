"""What a reload brings back."""

import json
from typing import Any

import pytest
from selenium.webdriver.common.by import By

from tests.web.page import Page
from tests.web.server import Server

PREFIX = "latentcast.history/"
MOST = 60  # that are remembered
NEVER = 10**13  # milliseconds since 1970; later than any picture of a test
STORAGE_BLOCKED = """
for (const name of ["localStorage", "sessionStorage", "indexedDB"]) {
    Object.defineProperty(window, name, { get() { throw new DOMException("denied", "SecurityError"); } });
}
"""
STORAGE_FULL = """
Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };
IDBObjectStore.prototype.put = () => { throw new DOMException("full", "QuotaExceededError"); };
"""
LET_NO_REQUEST_OUT = "window.fetch = () => new Promise(() => {})"


def keep(page: Page, key: str, prompt: str, **facts: object) -> None:
    """Puts into the history what the page would have put there."""
    snapshot: dict[str, Any] = {"key": key, "at": 1, "owner": "", "settings": {"prompt": prompt}, "id": key, **facts}
    page.script("localStorage.setItem(arguments[0], arguments[1])", PREFIX + key, json.dumps(snapshot))


def kept_pictures(page: Page, *calls: str) -> Any:
    """What the last of these calls of functions in `pictures.js` gives."""
    steps = "".join(f".then((result) => store.{call})" for call in calls)
    script = f'import("./web/pictures.js").then((store) => Promise.resolve(){steps}).then(arguments[0])'
    return page.driver.execute_async_script(script)


def test_finished_pictures_survive_a_reload(page: Page) -> None:
    for prompt in ("a red boat", "a blue house"):
        page.generate(prompt, num_inference_steps=2).wait_until_painted()
    seeds = [card.part("seed").text for card in page.cards()]

    page.reload()

    page.wait(lambda: len(page.cards()) == 2)
    for card in page.cards():
        card.wait_until_painted()
    assert [card.prompt for card in page.cards()] == ["a blue house", "a red boat"]
    assert [card.part("seed").text for card in page.cards()] == seeds


def test_finished_pictures_outlive_the_server_that_made_them(any_page: Page) -> None:
    page = any_page
    page.tolerate("ERR_", "Failed to load resource")
    with Server("--engine", "fake") as first:
        page.visit(first.url)
        card = page.generate("a red boat", num_inference_steps=2, seed=7)
        card.wait_until_painted()
        source = card.final_pictures[0].get_attribute("src")

    with Server("--engine", "fake", port=first.port) as second:
        page.visit(second.url)
        card = page.cards()[0]
        card.wait_until_painted()
        assert card.state.startswith("Done")
        assert card.part("seed").text == "seed 7"
        assert card.final_pictures[0].get_attribute("src") != source


def test_a_running_picture_goes_on_after_a_reload(page: Page) -> None:
    card = page.generate("a slow boat", num_inference_steps=50)
    page.wait(lambda: len(card.frames) >= 2)
    generation_id = card.id

    page.reload()

    page.wait(page.cards)
    card = page.cards()[0]
    assert card.id == generation_id
    page.wait(lambda: len(card.frames) >= 2, lambda: card.state)
    card.wait_until_painted()
    assert page.most_streams == 1


def test_how_it_ended_survives_a_reload(page: Page) -> None:
    card = page.generate("a slow boat", num_inference_steps=50)
    card.wait_for("running")
    card.click("cancel")
    card.wait_for("cancelled")

    page.reload()

    page.wait(page.cards)
    card = page.cards()[0]
    assert (card.phase, card.state) == ("cancelled", "Cancelled")
    card.click("retry")
    card.wait_for("running")
    card.click("cancel")


def test_what_was_not_sent_yet_is_told_after_a_reload(page: Page) -> None:
    page.script(LET_NO_REQUEST_OUT)
    page.send("a red boat").wait_for("sending")

    page.reload()

    page.wait(lambda: [card.phase for card in page.cards()] == ["refused"])
    card = page.cards()[0]
    assert card.state == "This was not sent: the page was left too early."
    page.wait_for_sizes()
    card.click("retry")
    card.wait_until_painted()


def test_a_picture_removed_stays_away(page: Page) -> None:
    page.generate("a red boat", num_inference_steps=1).wait_until_painted()
    page.cards()[0].click("remove")

    page.generate("a blue house", num_inference_steps=1).wait_until_painted()
    page.reload()

    page.wait(page.cards)
    assert [card.prompt for card in page.cards()] == ["a blue house"]


def test_what_the_server_forgot_is_told(page: Page) -> None:
    page.tolerate("404")
    keep(page, "forgotten-1", "finished once", phase="succeeded", at=2)
    keep(page, "forgotten-2", "never finished", phase="running")

    page.reload()

    page.wait(lambda: [card.phase for card in page.cards()] == ["gone", "gone"])
    assert [card.state for card in page.cards()] == [
        "Done, but the server no longer keeps the picture.",
        "The server no longer knows this picture. It may have been restarted.",
    ]
    assert page.open_streams == 0


def test_a_history_that_cannot_be_read_is_ignored(page: Page) -> None:
    page.script("localStorage.setItem(arguments[0], '{broken')", PREFIX + "broken")
    page.script("localStorage.setItem(arguments[0], '[]')", PREFIX + "list")
    keep(page, "empty", "")

    page.reload()

    page.wait_for_sizes()
    assert page.cards() == []
    page.generate("a red boat", num_inference_steps=1).wait_until_painted()


def test_the_oldest_of_very_many_give_way(page: Page) -> None:
    for number in range(MOST):
        keep(page, f"old-{number}", f"boat {number}", phase="cancelled", at=number)
    page.reload()
    page.wait(lambda: len(page.cards()) == MOST)
    assert kept_pictures(page, "save('old-0', [])", "load('old-0')") == []

    page.type_prompt("a red boat")
    page.find("#generate").click()
    page.wait(lambda: page.cards()[0].prompt == "a red boat" and page.cards()[0].has_final_picture)

    prompts = [part.text for part in page.find_all(".card .prompt")]
    assert (len(prompts), prompts[0], prompts[-1]) == (MOST, "a red boat", "boat 1")
    assert kept_pictures(page, "load('old-0')") is None
    page.reload()
    page.wait(lambda: len(page.cards()) == MOST)


def test_what_is_under_way_never_gives_way(any_page: Page) -> None:
    page = any_page
    page.tolerate("404", "ERR_", "Failed to load resource")
    with Server("--engine", "fake", "--fake-step-ms", "200", "--drain-timeout", "0") as server:
        page.visit(server.url)
        page.generate("a slow boat", num_inference_steps=50).wait_for("running")
        for number in range(MOST):
            keep(page, f"newer-{number}", f"boat {number}", phase="cancelled", at=NEVER + number)

        page.generate("another slow boat").wait_for("running")

        assert [card.prompt for card in page.cards()] == ["another slow boat", "a slow boat"]
        page.reload()
        page.wait(lambda: len(page.cards()) == MOST + 2)


@pytest.mark.parametrize("storage", [STORAGE_BLOCKED, STORAGE_FULL], ids=["blocked", "full"])
def test_without_storage_nothing_is_kept_and_all_else_works(page: Page, storage: str) -> None:
    page.tolerate("storage refused")
    with page.before_its_scripts(storage):
        page.reload()
        page.wait_for_sizes()
        page.generate("a red boat", num_inference_steps=1).wait_until_painted()
        page.find("#theme-button").click()
        assert page.find("#theme-button").accessible_name == "Colours: dark"

        page.reload()
        page.wait_for_sizes()
        assert page.cards() == []
        assert page.find("#theme-button").accessible_name == "Colours: as the system has them"
    page.reload()


def test_what_was_in_the_form_survives_a_reload(page: Page) -> None:
    page.choose("size", "192x192")
    page.type_prompt("a boat, half ty")
    page.set_field("num_inference_steps", 7)

    page.reload()
    page.wait_for_sizes()

    values = [page.value_of(name) for name in ("prompt", "size", "num_inference_steps")]
    assert values == ["a boat, half ty", "192x192", "7"]
    assert len(page.find("#size").find_elements(By.CSS_SELECTOR, "[value='192x192']")) == 1
