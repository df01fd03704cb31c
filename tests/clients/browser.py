"""Chromium on a page of the service that has no script of its own, and the event streams that a test opens in it."""

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from selenium.webdriver import Chrome

PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.02

OPEN = """
const [url, names] = arguments;
const source = new EventSource(url);
const seen = [];
for (const name of names) {
  source.addEventListener(name, ({ lastEventId, data }) => seen.push([name, lastEventId, data]));
}
(window.streams ??= []).push({ source, seen });
return window.streams.length - 1;
"""


class Seen(NamedTuple):
    """An event as the browser gave it to the page."""

    name: str
    id: str
    data: str

    @property
    def number(self) -> int:
        return int(self.id.rpartition(".")[2])

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Stream:
    """An EventSource."""

    def __init__(self, driver: Chrome, index: int) -> None:
        self._driver = driver
        self._index = index

    @property
    def events(self) -> list[Seen]:
        return [Seen(*each) for each in self._ask("seen")]

    @property
    def num_events(self) -> int:
        return int(self._ask("seen.length"))

    @property
    def is_closed(self) -> bool:
        """Whether the browser has stopped, and will not come back by itself."""
        return bool(self._ask("source.readyState === EventSource.CLOSED"))

    def _ask(self, what: str) -> Any:
        return self._driver.execute_script(f"return window.streams[{self._index}].{what}")


class Browser:
    def __init__(self, driver: Chrome) -> None:
        self._driver = driver

    def visit(self, service_url: str) -> None:
        self._driver.get(f"{service_url}/livez")

    def write(self, html: str) -> None:
        """In place of what the page has shown."""
        self._driver.execute_script("document.open(); document.write(arguments[0]); document.close();", html)

    def open_stream(self, url: str, *names: str) -> Stream:
        """Events without a name are `message`."""
        return Stream(self._driver, self._driver.execute_script(OPEN, url, names))

    def run(self, script: str, *arguments: object) -> Any:
        """The result of the body of an async function; an exception is given as text."""
        wrapped = f"""
            const done = arguments[arguments.length - 1];
            (async () => {{ {script} }})().then(done, (error) => done(String(error)));
        """
        return self._driver.execute_async_script(wrapped, *arguments)


def wait_until(is_true: Callable[[], object]) -> None:
    """Returns as soon as it is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(POLL_SECONDS)
