"""The interface's page: made in the browser from the OpenAPI document."""

import json
import subprocess

import pytest
from selenium.webdriver.remote.webelement import WebElement

from service.app import ROUTES
from tests.tools import require_tool
from tests.web.page import Page
from tests.web.server import Server


@pytest.fixture
def docs(any_page: Page, server: Server) -> Page:
    open_docs(any_page, server)
    return any_page


def open_docs(page: Page, server: Server, anchor: str = "") -> None:
    page.driver.get(f"{server.url}/docs{anchor}")
    page.wait(lambda: page.find_all(".route"))


def unfold(page: Page, anchor: str) -> WebElement:
    page.find(f"#{anchor} > summary").click()
    page.wait(lambda: page.find_all(f"#{anchor} .route-body"))
    return page.find(f"#{anchor}")


def try_it(page: Page, anchor: str, **fields: str) -> None:
    form = unfold(page, anchor).find_element("css selector", ".try")
    for name, value in fields.items():
        field = form.find_element("css selector", f"[name={name}], textarea")
        field.clear()
        field.send_keys(value)
    form.find_element("css selector", "[type=submit]").click()


def status(page: Page, anchor: str) -> str:
    return page.find(f"#{anchor} .answer-status").text


def test_every_route_is_on_the_page_and_in_the_contents(docs: Page) -> None:
    methods = [part.text for part in docs.find_all("main .method")]
    paths = [part.text for part in docs.find_all("main section:not(#schemas) .path")]

    assert sorted(zip(methods, paths, strict=True)) == sorted((route.method, route.path) for route in ROUTES)
    links = docs.find_all("#contents a")
    assert all(docs.script("return document.getElementById(arguments[0].hash.slice(1))", link) for link in links)
    assert len(links) > len(ROUTES)


def test_a_field_tells_its_range_and_its_default(docs: Page) -> None:
    route = unfold(docs, "post-v1-generations")
    rows = {row.text.split("\n")[0]: row.text for row in route.find_elements("css selector", ".fields tr")}

    assert "required" in rows["prompt"]
    assert "text, 1 to 2000 characters" in rows["prompt"]
    assert "whole number, 1 to 50; default 20" in rows["num_inference_steps"]
    assert "whole number, 64 to 1024, a multiple of 8 or null; default 256" in rows["width"]
    assert '"euler" or "euler_a"' in rows["sampler"]


def test_a_link_leads_to_what_a_field_holds(docs: Page) -> None:
    route = unfold(docs, "get-v1-generations-id")

    route.find_element("link text", "GenerationRecord").click()

    record = docs.find("#schema-GenerationRecord")
    docs.wait(lambda: record.get_attribute("open"))
    assert "queue_position" in record.text


def test_an_address_opens_its_route(any_page: Page, server: Server) -> None:
    open_docs(any_page, server, "#post-v1-generations")

    assert any_page.find("#post-v1-generations").get_attribute("open")
    assert any_page.focused == any_page.find("#post-v1-generations summary")


def test_a_route_can_be_tried(docs: Page) -> None:
    try_it(docs, "post-v1-generations", body='{"prompt": "a boat", "num_inference_steps": 1}')

    docs.wait(lambda: status(docs, "post-v1-generations").startswith("202"))
    answer = json.loads(docs.find("#post-v1-generations .answer").text)
    assert answer["total_steps"] == 1
    try_it(docs, "get-v1-generations-id-images-number", id=answer["id"], number="0")
    docs.wait(lambda: status(docs, "get-v1-generations-id-images-number").startswith("200"))
    picture = docs.find("#get-v1-generations-id-images-number .answer-picture")
    docs.wait(lambda: picture.get_property("naturalWidth") == 256)


def test_a_stream_is_shown_as_it_comes_and_can_be_stopped(docs: Page) -> None:
    try_it(docs, "post-stream", body='{"prompt": "a boat", "num_inference_steps": 50}')
    docs.wait(lambda: len(docs.find_all("#post-stream .answer div")) >= 2)
    assert docs.find("#post-stream .answer-picture").get_property("naturalWidth") == 256

    docs.find("#post-stream .secondary").click()

    docs.wait(lambda: status(docs, "post-stream") == "Stopped.")


def test_an_error_is_shown_as_it_is(docs: Page) -> None:
    docs.tolerate("422")
    try_it(docs, "post-v1-generations", body='{"prompt": ""}')

    docs.wait(lambda: status(docs, "post-v1-generations").startswith("422"))
    assert '"prompt: must not be empty"' in docs.find("#post-v1-generations .answer").text


def test_a_try_can_be_copied_as_a_command(docs: Page) -> None:
    route = unfold(docs, "get-livez")
    route.find_element("css selector", ".text-button").click()
    docs.wait(lambda: status(docs, "get-livez") == "Copied")
    require_tool("curl")

    result = subprocess.run(["sh", "-c", docs.copied()], capture_output=True, check=True, text=True, timeout=60)

    assert json.loads(result.stdout) == {"status": "alive"}


def test_nothing_scrolls_sideways(docs: Page) -> None:
    unfold(docs, "get-generate")
    unfold(docs, "get-queue-owner-alias-requests-id-status-stream")

    for width in (320, 390, 900, 1280):
        docs.resize(width, 800, is_phone=width < 500)
        room, needed = docs.script("return [innerWidth, document.documentElement.scrollWidth]")
        assert needed <= room <= width


def test_everything_has_a_name(docs: Page) -> None:
    unfold(docs, "post-v1-generations")
    unfold(docs, "get-v1-events")

    controls = docs.find_all("input, textarea, button, a[href], summary, pre[tabindex]")
    nameless = [one.get_attribute("outerHTML") for one in controls if one.is_displayed() and not one.accessible_name]
    assert nameless == []
