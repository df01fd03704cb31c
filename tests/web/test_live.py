"""Paint as I type: pictures that follow the words, over a WebSocket."""

import base64
from typing import Any

import msgspec
import pytest

from scheduler.fake_engine import FAILING_PROMPT
from tests.web.network import CuttableNetwork
from tests.web.page import Page
from tests.web.server import Server

RECORD_SOCKETS = """
window.sent = [];
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (text) { window.sent.push(JSON.parse(text)); send.call(this, text); };
"""

IMPATIENT = """
const real = window.setTimeout;
window.setTimeout = (call, ms, ...rest) => real(call, ms >= 10_000 ? 500 : ms, ...rest);
"""  # a silence that is to be looked into is half a second long


def state(page: Page) -> str:
    return page.find("#live-state").text


def start(page: Page) -> None:
    """Turn it on, and note what is sent."""
    page.script(RECORD_SOCKETS)
    page.find("#live-switch").click()
    page.wait(lambda: state(page) == "Type, and watch.", lambda: state(page))


def wait_until_done(page: Page, prompt: str) -> None:
    page.wait(lambda: sent(page) and sent(page)[-1]["prompt"] == prompt)
    page.wait(lambda: state(page) == "Done", lambda: state(page))


def shown(page: Page) -> list[str]:
    """What the pictures that are there show, in words: while one fades into the next, there are two."""
    return list(page.script("return [...document.querySelectorAll('#live .print img')].map((image) => image.alt)"))


def sent(page: Page) -> list[dict[str, object]]:
    return list(page.script("return window.sent"))


def test_a_picture_forms_as_one_types(page: Page) -> None:
    start(page)
    assert page.find("#live").is_displayed()

    page.find("#prompt").send_keys("a red boat")
    wait_until_done(page, "a red boat")
    before = len(page.script("return window.recorded.frames.live"))
    page.find("#prompt").send_keys(" at night")
    wait_until_done(page, "a red boat at night")

    request = sent(page)[-1]
    assert (request["width"], request["height"], request["num_inference_steps"]) == (192, 192, 6)
    assert request["supersede"] is True
    assert len({each["seed"] for each in sent(page)}) == 1
    assert len(sent(page)) < len("a red boat at night"), "one request for each letter"
    assert len(page.script("return window.recorded.frames.live")) > before
    page.wait(lambda: shown(page) == ["a red boat at night"], lambda: shown(page))
    assert page.cards() == []
    assert page.flickers == 0


def test_the_newest_words_win(page: Page) -> None:
    start(page)
    page.find("#live-steps").clear()
    page.find("#live-steps").send_keys("50")
    page.find("#prompt").send_keys("a red boat")
    page.wait(lambda: state(page).startswith("Step "), lambda: state(page))

    page.find("#live-steps").clear()
    page.find("#live-steps").send_keys("3")
    page.find("#prompt").send_keys(" at night")

    wait_until_done(page, "a red boat at night")
    page.wait(lambda: shown(page) == ["a red boat at night"], lambda: shown(page))


def test_it_goes_on_to_a_full_picture_of_the_same_seed(page: Page) -> None:
    start(page)
    page.find("#prompt").send_keys("a red boat")
    wait_until_done(page, "a red boat")

    page.find("#live-paint").click()

    page.wait(page.cards)
    page.cards()[0].wait_until_painted()
    assert page.cards()[0].part("seed").text == f"seed {sent(page)[-1]['seed']}"
    assert page.cards()[0].part("size").text == "256 × 256"


def test_a_new_seed_and_a_download(page: Page) -> None:
    start(page)
    page.find("#prompt").send_keys("a red boat")
    wait_until_done(page, "a red boat")
    page.find("#live-reseed").click()
    page.wait(lambda: len({each["seed"] for each in sent(page)}) == 2)
    page.wait(lambda: state(page) == "Done")

    page.find("#live-download").click()

    page.wait((page.downloads / f"a-red-boat-{sent(page)[-1]['seed']}.jpg").exists)


def test_without_words_nothing_is_painted(page: Page) -> None:
    start(page)
    page.find("#prompt").send_keys("a")
    wait_until_done(page, "a")
    page.find("#prompt").send_keys("\b")
    page.wait(lambda: state(page) == "Type, and watch.")
    assert len(sent(page)) == 1


def test_a_failure_is_told_and_can_be_tried_again(page: Page) -> None:
    start(page)
    page.find("#prompt").send_keys(FAILING_PROMPT)

    page.wait(lambda: "asked to fail this request" in state(page), lambda: state(page))
    count = len(sent(page))
    page.find("#live-again").click()
    page.wait(lambda: len(sent(page)) == count + 1)
    page.wait(lambda: "asked to fail this request" in state(page), lambda: state(page))

    page.find("#prompt").send_keys(" not")
    wait_until_done(page, f"{FAILING_PROMPT} not")
    assert not page.find("#live-again").is_displayed()


def test_turned_off_it_leaves_nothing_behind(page: Page) -> None:
    start(page)
    page.find("#prompt").send_keys("a red boat")
    wait_until_done(page, "a red boat")

    page.find("#live-switch").click()

    assert not page.find("#live").is_displayed()
    page.find("#prompt").send_keys(" at night")
    page.find("#live-switch").click()
    wait_until_done(page, "a red boat at night")


def test_a_cut_network_is_survived(any_page: Page, server: Server) -> None:
    page = any_page
    page.tolerate("ERR_", "Failed to load resource", "WebSocket")
    with CuttableNetwork(server.port) as network:
        page.visit(network.url)
        start(page)
        page.find("#live-steps").clear()
        page.find("#live-steps").send_keys("50")
        page.find("#prompt").send_keys("a red boat")
        page.wait(lambda: state(page).startswith("Step "), lambda: state(page))

        network.cut()

        page.wait(lambda: "Not connected. Trying again…" in page.told("live-state"), lambda: state(page))
        page.wait(lambda: len(sent(page)) == 2)
        page.wait(lambda: state(page) == "Done", lambda: state(page))


def test_a_connection_that_has_gone_silent_is_replaced(any_page: Page, server: Server) -> None:
    page = any_page
    page.tolerate("ERR_", "Failed to load resource")
    with CuttableNetwork(server.port) as network, page.before_its_scripts(IMPATIENT):
        page.visit(network.url)
        start(page)
        network.silence("/realtime")
        page.find("#prompt").send_keys("a red boat")

        page.wait(lambda: "Not connected. Trying again…" in page.told("live-state"), lambda: state(page))
        page.wait(lambda: state(page) == "Done", lambda: state(page))


def test_who_waits_in_line_keeps_the_connection(any_page: Page) -> None:
    page = any_page
    page.tolerate("ERR_", "Failed to load resource")
    flags = ("--fake-step-ms", "200", "--max-rows", "2", "--drain-timeout", "0")
    with Server("--engine", "fake", *flags) as server, page.before_its_scripts(IMPATIENT):
        page.visit(server.url)
        card = page.generate("a slow boat", num_inference_steps=50)
        card.wait_for("running")
        page.find("#prompt").clear()
        start(page)
        page.find("#live-size option:last-child").click()
        page.find("#prompt").send_keys("a red boat")
        page.wait(lambda: len(sent(page)) >= 4, lambda: state(page))
        assert state(page) == "Starting…"

        card.click("cancel")

        page.wait(lambda: state(page) == "Done", lambda: state(page))
        assert "Not connected. Trying again…" not in page.told("live-state")


def test_what_the_server_says_no_to_tells_how_it_is(any_page: Page) -> None:
    page = any_page
    page.tolerate("503", "ERR_")
    with Server("--engine", "fake", "--fake-step-ms", "200") as server:
        page.visit(server.url)
        start(page)
        page.find("#prompt").send_keys("a red boat")
        page.wait(lambda: state(page).startswith("Step "), lambda: state(page))

        server.kill_worker()

        page.wait(lambda: "The model is being started again…" in page.told("notice-text"), lambda: page.notice)
        page.wait(lambda: state(page) == "Done", lambda: state(page))


VALUES: list[object] = [
    None,
    [True, False],
    [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53],
    [-1, -32, -33, -128, -129, -32768, -32769, -(2**31), -(2**31) - 1, -(2**53)],
    [0.5, -1e300],
    ["", "ключ ✓", "x" * 40, "x" * 300, "x" * 70_000],
    {"a": {"b": []}, **{str(number): number for number in range(20)}},
    list(range(20)),
    {str(number): [] for number in range(70_000)},
]


def decoded(page: Page, value: object, result: str) -> Any:
    """What the page reads of a message; `result` is what to give of it, in JavaScript."""
    script = f"""
        const [base64, done] = arguments;
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        import("./web/msgpack.js").then(({{ decode }}) => {{
            const message = decode(bytes.buffer);
            done({result});
        }});
    """
    encoded = base64.b64encode(msgspec.msgpack.encode(value)).decode()
    return page.driver.execute_async_script(script, encoded)


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_messages_are_read_as_they_were_written(page: Page, value: object) -> None:
    assert decoded(page, value, "message") == value


@pytest.mark.parametrize("size", [0, 255, 256, 70_000])
def test_bytes_are_read_as_bytes(page: Page, size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    assert bytes(decoded(page, data, "[...message]")) == data


@pytest.mark.parametrize("width", [390, 1280])
def test_the_picture_is_in_sight_of_the_words(page: Page, width: int) -> None:
    page.resize(width, 700, is_phone=width < 500)
    start(page)
    page.find("#prompt").send_keys("a red boat")
    wait_until_done(page, "a red boat")

    edges = "const box = arguments[0].getBoundingClientRect(); return [box.top, box.bottom]"
    top, bottom = page.script(edges, page.find("#live .print"))
    assert top >= 0
    assert bottom <= 700
