"""EventSource and fetch in a real Chromium: what it does by itself when the network is cut, and across sites."""

import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.api_keys import make_key
from tests.clients.browser import Browser, wait_until
from tests.web.network import CuttableNetwork
from tests.web.server import Server

NATIVE_EVENTS = ("queued", "started", "preview", "succeeded", "failed", "cancelled")
LONG = {"prompt": "a red boat on the sea", "num_inference_steps": 50, "preview_every": 1}


class Counts:
    """How far the service's counters have gone since this was made."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = self._read()

    def __getitem__(self, series: str) -> float:
        return self._read()[series] - self._before[series]

    def _read(self) -> dict[str, float]:
        """`name/label/label` -> value."""
        text = urllib.request.urlopen(f"{self._server.url}/metrics", timeout=10).read().decode()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return {"/".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}

    @property
    def generations(self) -> float:
        return sum(self[f"latentcast_requests_received_total/{route}"] for route in ("generate", "native"))

    @property
    def resumes(self) -> tuple[float, float]:
        """Those that found their generation, and those that were told to stop."""
        name = "latentcast_stream_resumes_total"
        return self[f"{name}/hit"], self[f"{name}/miss"]


@pytest.fixture
def network(server: Server) -> Iterator[CuttableNetwork]:
    with CuttableNetwork(server.port) as network:
        yield network


def create(server: Server, **fields: object) -> str:
    """Where to watch the new generation."""
    asked = urllib.request.Request(
        f"{server.url}/v1/generations", json.dumps(fields).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return str(json.load(answer)["events_url"])


def test_generate_goes_on_after_the_network_was_cut(server: Server, browser: Browser, network: CuttableNetwork) -> None:
    browser.visit(network.url)
    counts = Counts(server)
    query = "&".join(f"{name}={value}".replace(" ", "+") for name, value in LONG.items())
    stream = browser.open_stream(f"/generate?{query}&encoding=url", "message")
    wait_until(lambda: stream.num_events >= 2)
    network.cut()
    wait_until(lambda: stream.is_closed)
    events = stream.events
    assert [event.data for event in events].count("[DONE]") == 1
    assert events[-1].data == "[DONE]"
    assert events[-2].json["step"] == events[-2].json["total_steps"] == 50
    assert [event.number for event in events] == sorted({event.number for event in events})
    assert len({event.id.rpartition(".")[0] for event in events}) == 1
    assert counts.generations == 1
    assert counts.resumes == (1, 1)


def test_a_watcher_goes_on_after_the_network_was_cut(
    server: Server, browser: Browser, network: CuttableNetwork
) -> None:
    browser.visit(network.url)
    counts = Counts(server)
    stream = browser.open_stream(create(server, **LONG), *NATIVE_EVENTS)
    wait_until(lambda: stream.num_events >= 3)
    network.cut()
    wait_until(lambda: stream.is_closed)
    events = stream.events
    assert [event.name for event in events if event.name in ("succeeded", "failed", "cancelled")] == ["succeeded"]
    assert events[-1].name == "succeeded"
    assert events[-1].json["images"]
    assert [event.number for event in events] == sorted({event.number for event in events})
    assert counts.generations == 1
    assert counts.resumes == (1, 1)


def test_several_watchers_and_a_late_one(server: Server, browser: Browser) -> None:
    browser.visit(server.url)
    counts = Counts(server)
    url = create(server, **LONG)
    early = [browser.open_stream(url, *NATIVE_EVENTS) for _ in range(2)]
    wait_until(lambda: all(any(event.name == "preview" for event in stream.events) for stream in early))
    known = max(event.number for stream in early for event in stream.events)
    late = browser.open_stream(url, *NATIVE_EVENTS)
    wait_until(lambda: late.num_events >= 2)
    state, preview, *_ = late.events
    assert (state.name, preview.name) == ("started", "preview")
    assert preview.number >= known
    wait_until(lambda: all(stream.is_closed for stream in (*early, late)))
    assert {stream.events[-1] for stream in (*early, late)} == {late.events[-1]}
    assert late.events[-1].name == "succeeded"
    assert counts.generations == 1


@pytest.fixture
def key(tmp_path: Path) -> str:
    key, line = make_key("alice")
    (tmp_path / "keys").write_text(line)
    return key


def test_a_key_in_the_address(browser: Browser, key: str, tmp_path: Path) -> None:
    with Server("--engine", "fake", "--api-key-file", str(tmp_path / "keys")) as locked:
        browser.visit(locked.url)
        url = "/generate?prompt=a+red+boat&num_inference_steps=2"
        refused = browser.open_stream(url, "message")
        wait_until(lambda: refused.is_closed)
        assert refused.events == []
        stream = browser.open_stream(f"{url}&key={key}", "message")
        wait_until(lambda: stream.is_closed)
        assert stream.events[-1].data == "[DONE]"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


FETCH = """
const answer = await fetch(arguments[0] + '/v1/generations', {
  method: 'POST',
  headers: { 'Content-Type': 'application/json', Authorization: 'Bearer any' },
  body: JSON.stringify({ prompt: 'a red boat', num_inference_steps: 1 }),
});
return [answer.status, answer.headers.get('x-request-id') === (await answer.json()).id];
"""


def test_another_site_that_is_named_may_use_the_service(browser: Browser) -> None:
    port = free_port()
    site = f"http://localhost:{port}"  # to a browser not the site of 127.0.0.1, though the same service answers
    with Server("--engine", "fake", "--cors-origins", site, port=port) as server:
        browser.visit(site)
        assert browser.run(FETCH, server.url) == [202, True]
        stream = browser.open_stream(f"{server.url}/generate?prompt=a+red+boat&num_inference_steps=1", "message")
        wait_until(lambda: stream.is_closed)
        assert stream.events[-1].data == "[DONE]"


def test_another_site_that_is_not_may_not(browser: Browser) -> None:
    port = free_port()
    with Server("--engine", "fake", port=port) as server:
        browser.visit(f"http://localhost:{port}")
        counts = Counts(server)
        assert browser.run(FETCH, server.url) == "TypeError: Failed to fetch"
        stream = browser.open_stream(f"{server.url}/generate?prompt=a+red+boat", "message")
        wait_until(lambda: stream.is_closed)
        assert stream.events == []
        assert counts.generations == 0
