"""Nothing on the page moves by itself."""

from tests.web.page import Page

LOOK_FOR_EMPTY = """
window.wasEmpty = false;
(function look() {
    wasEmpty ||= document.getElementById("empty")?.checkVisibility() ?? false;
    requestAnimationFrame(look);
})();
"""


def test_nothing_moves_while_the_page_is_loaded(page: Page) -> None:
    for prompt in ("a red boat", "a blue house"):
        page.generate(prompt, num_inference_steps=1).wait_until_painted()
    for width in (1280, 320):
        page.resize(width, 900, is_phone=width < 500)
        with page.before_its_scripts(LOOK_FOR_EMPTY):
            page.reload()
        page.wait_for_sizes()
        for card in page.cards():
            card.wait_until_painted()

        assert page.moves == []
        assert not page.script("return window.wasEmpty")


def test_nothing_moves_while_a_picture_forms_and_is_finished(page: Page) -> None:
    card = page.generate("a red boat", num_inference_steps=25)
    card.wait_until_painted()
    page.wait(lambda: card.has("download"))

    assert page.moves == []


def test_a_notice_moves_nothing_when_it_comes_and_when_it_goes(page: Page) -> None:
    page.tolerate("ERR_")
    with page.unplugged():
        page.wait(lambda: page.notice == "The server cannot be reached. Trying again…")
        assert page.moves == []

    page.wait(lambda: page.notice == "")
    assert page.moves == []
