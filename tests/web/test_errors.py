"""What the page says when something is wrong."""

import re

import pytest

from tests.web.network import CuttableNetwork
from tests.web.page import Page
from tests.web.server import Server

TIME_FLIES = "const now = Date.now, start = now(); Date.now = () => start + 10 * (now() - start)"
LOSE_ONE_CANCEL = """
const real = window.fetch;
let isLost = false;
window.fetch = (url, options) => {
    if (options?.method !== "DELETE" || isLost) {
        return real(url, options);
    }
    isLost = true;
    return Promise.reject(new TypeError("lost on the way"));
};
"""
LET_NO_REQUEST_OUT = "window.fetch = () => new Promise(() => {})"
CONNECTION_LOST = "The connection is lost. Connecting again…"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_inference_steps", 51, "must be at most 50"),
        ("num_inference_steps", 1.5, "must be a whole number"),
        ("guidance_scale", -1, "must be at least 0"),
        ("seed", 2**32, "must be at most 4294967295"),
        ("prompt", "boat " * 401, "must be at most 2000 characters long"),
    ],
)
def test_a_fault_is_told_beside_its_field(page: Page, field: str, value: object, message: str) -> None:
    page.tolerate("422")
    page.type_prompt("a boat")
    page.set_field(field, value)

    page.find("#generate").click()

    error = page.find(f"[data-field={field}] .error")
    page.wait(error.is_displayed)
    assert error.text.startswith(message)
    assert page.find(f"[name={field}]") == page.driver.switch_to.active_element
    assert page.cards() == []

    page.find(f"[name={field}]").send_keys("1")
    assert not error.is_displayed()


def test_a_size_the_model_cannot_paint_is_told_beside_it(page: Page) -> None:
    page.tolerate("422")
    page.find("#size option[value='custom']").click()
    page.type_prompt("a boat")
    page.set_field("width", 100)
    page.set_field("height", 4096)

    page.find("#generate").click()

    page.wait(page.find("[data-field=width] .error").is_displayed)
    assert page.find("[data-field=width] .error").text == "must be a multiple of 8"
    assert page.find("[data-field=height] .error").text == "must be at most 1024"


def test_a_full_queue_says_when_to_try_again_and_counts_down(any_page: Page) -> None:
    page = any_page
    page.tolerate("503", "ERR_")
    flags = ("--fake-step-ms", "200", "--max-rows", "2", "--max-queue-cost", "0")
    with Server("--engine", "fake", *flags) as server:
        page.visit(server.url)
        first = page.generate("a red boat", num_inference_steps=50)
        first.wait_for("running")
        second = page.generate("a blue boat", num_inference_steps=2)
        page.wait(lambda: second.state == "Position 1", lambda: second.state)

        third = page.send("a green boat")
        third.wait_for("refused")
        told = third.state
        assert re.fullmatch(r"The queue is full. Try again in \d+ s.", told)
        page.wait(lambda: third.state != told)

        first.click("cancel")
        second.wait_until_painted()
        third.click("retry")
        third.wait_until_painted()


def test_a_worker_that_dies_fails_its_picture_and_another_paints_it(any_page: Page) -> None:
    page = any_page
    page.tolerate("503", "ERR_")
    with Server("--engine", "fake", "--fake-step-ms", "40") as server:
        page.visit(server.url)
        card = page.generate("a red boat", num_inference_steps=50)
        card.wait_for("running")

        server.kill_worker()

        card.wait_for("failed")
        assert card.state.startswith("Failed: ")
        card.click("retry")
        card.wait_until_painted()
        page.wait(lambda: page.notice == "", lambda: page.notice)


def test_a_server_that_is_gone_is_told_and_is_found_again(any_page: Page) -> None:
    page = any_page
    page.tolerate("ERR_", "Failed to load resource")
    first = Server("--engine", "fake", "--fake-step-ms", "200")
    try:
        page.visit(first.url)
        card = page.generate("a red boat", num_inference_steps=50)
        card.wait_for("running")
    finally:
        first.kill()

    page.wait(lambda: page.notice == "The server cannot be reached. Trying again…", lambda: page.notice)
    assert card.state == "Waiting for the server…"
    refused = page.send("a blue boat")
    refused.wait_for("refused")
    assert refused.state == "The server cannot be reached."
    page.reload()  # Chromium's own error page, until the server is back

    with Server("--engine", "fake", port=first.port) as second:
        page.visit(second.url)
        page.wait(lambda: [card.phase for card in page.cards()] == ["refused", "gone"])
        page.cards()[0].click("retry")
        page.cards()[0].wait_until_painted()


def test_a_cut_network_is_survived(any_page: Page, server: Server) -> None:
    page = any_page
    page.tolerate("ERR_", "Failed to load resource")
    with CuttableNetwork(server.port) as network:
        page.visit(network.url)
        card = page.generate("a red boat", num_inference_steps=50)
        page.wait(lambda: len(card.frames) >= 2)

        network.cut()

        page.wait(lambda: CONNECTION_LOST in page.told("notice-text"), lambda: page.notice)
        card.wait_until_painted()
        assert page.notice == ""
        assert page.most_streams == 1


def test_a_stream_that_has_gone_silent_is_replaced(any_page: Page) -> None:
    page = any_page
    page.tolerate("ERR_", "Failed to load resource")
    with (
        Server("--engine", "fake", "--fake-step-ms", "200", "--drain-timeout", "0") as server,
        CuttableNetwork(server.port) as network,
    ):
        page.visit(network.url)
        card = page.generate("a slow boat", num_inference_steps=50)
        page.wait(lambda: len(card.frames) >= 2)
        assert page.streams_ever == 1

        network.silence("/v1/events")
        page.script(TIME_FLIES)
        before = len(card.frames)

        page.wait(lambda: len(card.frames) >= before + 3, lambda: card.state)
        assert card.phase == "running"
        assert page.most_streams == 1
        card.click("cancel")
        card.wait_for("cancelled")


def test_a_cancel_is_said_again_though_the_picture_goes_on(any_page: Page) -> None:
    page = any_page
    page.tolerate("ERR_", "Failed to load resource")
    with Server("--engine", "fake", "--fake-step-ms", "200") as server:
        page.visit(server.url)
        card = page.generate("a slow boat", num_inference_steps=50)
        card.wait_for("running")
        page.script(LOSE_ONE_CANCEL)

        card.click("cancel")

        card.wait_for("cancelled")


def test_a_cancel_outlives_a_reload(any_page: Page) -> None:
    page = any_page
    page.tolerate("ERR_", "Failed to load resource")
    with Server("--engine", "fake", "--fake-step-ms", "200") as server:
        page.visit(server.url)
        card = page.generate("a slow boat", num_inference_steps=50)
        card.wait_for("running")
        page.script(LET_NO_REQUEST_OUT)
        card.click("cancel")
        assert card.state == "Cancelling…"

        page.reload()

        page.wait(page.cards)
        page.cards()[0].wait_for("cancelled")


def test_a_cancel_that_the_server_did_not_hear_is_said_again(any_page: Page) -> None:
    page = any_page
    page.tolerate("ERR_")
    with Server("--engine", "fake", "--fake-step-ms", "200") as server:
        page.visit(server.url)
        card = page.generate("a slow boat", num_inference_steps=50)
        card.wait_for("running")
        with page.unplugged():
            page.wait(lambda: page.notice)
            card.click("cancel")
            assert card.state == "Cancelling…"

        card.wait_for("cancelled")


def test_without_a_prompt_nothing_is_sent(page: Page) -> None:
    page.find("#generate").click()

    assert page.find("[data-field=prompt] .error").text == "must not be empty"
    assert page.focused == page.find("#prompt")
    assert page.cards() == []


def test_a_restarted_server_has_lost_the_picture_and_the_card_says_so(any_page: Page) -> None:
    page = any_page
    page.tolerate("ERR_", "Failed to load resource")
    first = Server("--engine", "fake", "--fake-step-ms", "200")
    try:
        page.visit(first.url)
        card = page.generate("a red boat", num_inference_steps=50)
        card.wait_for("running")
    finally:
        first.kill()

    with Server("--engine", "fake", port=first.port):
        card.wait_for("gone")
        assert card.state == "The server no longer knows this picture. It may have been restarted."
        page.wait(lambda: page.notice == "", lambda: page.notice)

        card.click("retry")
        card.wait_until_painted()
