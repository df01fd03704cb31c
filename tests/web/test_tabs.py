"""The page in several tabs of one browser."""

from tests.web.page import Page
from tests.web.server import Server

MANY_TABS = 7  # a browser has six connections to a server, for all its tabs together


def test_tabs_show_the_same_pictures(page: Page, server: Server) -> None:
    old = page.generate("a red boat", num_inference_steps=2)
    old.wait_until_painted()
    first = page.open_tab(server.url)
    page.wait(lambda: page.cards() and page.cards()[0].has_final_picture)

    page.generate("a blue house", num_inference_steps=50).wait_for("running")
    page.turn_to(first)

    page.wait(lambda: [card.prompt for card in page.cards()] == ["a blue house", "a red boat"])
    page.cards()[0].wait_until_painted()


def test_what_one_tab_ends_or_removes_is_ended_and_removed_in_the_other(page: Page, server: Server) -> None:
    slow = page.generate("a slow boat", num_inference_steps=50)
    slow.wait_for("running")
    first = page.open_tab(server.url)
    page.wait(page.cards)
    second = str(page.driver.current_window_handle)
    page.cards()[0].click("cancel")

    page.turn_to(first)
    slow.wait_for("cancelled")
    slow.click("remove")

    page.turn_to(second)
    page.wait(lambda: not page.cards())
    page.reload()
    page.wait_for_sizes()
    assert page.cards() == []


def test_what_one_tab_tries_again_forms_in_the_other(page: Page, server: Server) -> None:
    card = page.generate("a boat", num_inference_steps=50)
    card.wait_for("running")
    card.click("cancel")
    card.wait_for("cancelled")
    first = page.open_tab(server.url)
    page.wait(page.cards)
    page.cards()[0].click("retry")
    page.cards()[0].wait_for("running")

    page.turn_to(first)

    card.wait_until_painted()
    assert len(page.cards()) == 1


def test_many_tabs_do_not_keep_each_other_waiting(page: Page, server: Server) -> None:
    slow = page.generate("a slow boat", num_inference_steps=50)
    slow.wait_for("running")

    for _ in range(MANY_TABS):
        page.open_tab(server.url)
        page.wait(page.cards)

    page.generate("a quick boat", num_inference_steps=1).wait_until_painted()


def test_a_hidden_tab_watches_no_stream_and_misses_nothing(page: Page, server: Server) -> None:
    card = page.generate("a slow boat", num_inference_steps=40)
    card.wait_for("running")
    page.wait(lambda: page.open_streams == 1)
    first = page.open_tab(server.url)
    page.wait(page.cards)
    page.cards()[0].wait_until_painted()

    page.turn_to(first)

    card.wait_until_painted()
    assert page.open_streams == 0
