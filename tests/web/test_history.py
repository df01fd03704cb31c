"""What a reload brings back."""

import json

from tests.web.page import Page


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


def test_a_picture_removed_stays_away(page: Page) -> None:
    page.generate("a red boat", num_inference_steps=1).wait_until_painted()
    page.cards()[0].click("remove")

    page.generate("a blue house", num_inference_steps=1).wait_until_painted()
    page.reload()

    page.wait(page.cards)
    assert [card.prompt for card in page.cards()] == ["a blue house"]


def test_what_the_server_forgot_is_dropped_if_it_was_finished_and_told_if_not(page: Page) -> None:
    page.tolerate("404")
    entries = [
        {"id": "forgotten-1", "settings": {"prompt": "finished once"}, "finished": True},
        {"id": "forgotten-2", "settings": {"prompt": "never finished"}, "finished": False},
    ]
    page.script("localStorage.setItem('latentcast.history', arguments[0])", json.dumps(entries))

    page.reload()

    page.wait(lambda: [card.phase for card in page.cards()] == ["gone"])
    assert page.cards()[0].prompt == "never finished"
    assert page.open_streams == 0


def test_a_history_that_cannot_be_read_is_ignored(page: Page) -> None:
    page.script("localStorage.setItem('latentcast.history', '{broken')")

    page.reload()

    page.generate("a red boat", num_inference_steps=1).wait_until_painted()
