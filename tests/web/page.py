"""Drives the page in headless Chromium, and reads what a person would see."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.tools import require_tool

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
RECORDER = Path(__file__).with_name("recorder.js")
PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.02
NOT_YET = (StaleElementReferenceException,)  # the page was changing while it was looked at

FORGET = """
addEventListener("pagehide", () => { // after the page's own listener, and when nothing can be written any more
    localStorage.clear();
    sessionStorage.clear();
});
"""

T = TypeVar("T")


def open_browser(profile: Path, downloads: Path) -> webdriver.Chrome:
    """Skips, or fails where tools are required, without Chromium and its driver."""
    options = webdriver.ChromeOptions()
    options.binary_location = require_tool("chromium", "chromium-browser", "google-chrome")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(require_tool("chromedriver")))
    record(driver)
    permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": permissions})
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    return driver


def record(driver: webdriver.Chrome) -> None:
    """In the tab that is open."""
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": RECORDER.read_text()})


class Card:
    """One generation on the page."""

    def __init__(self, page: "Page", element: WebElement) -> None:
        self.page = page
        self.element = element

    def part(self, name: str) -> WebElement:
        return self.element.find_element(By.CSS_SELECTOR, f".{name}")

    def has(self, name: str) -> bool:
        """Whether it can be seen."""
        return self.part(name).is_displayed()

    @property
    def id(self) -> str:
        return str(self.element.get_attribute("data-id"))

    @property
    def phase(self) -> str:
        return str(self.element.get_attribute("data-phase"))

    @property
    def state(self) -> str:
        return self.part("state").text

    @property
    def left(self) -> str:
        """How long it still takes."""
        return self.part("left").text

    @property
    def prompt(self) -> str:
        return self.part("prompt").text

    @property
    def frames(self) -> list[str]:
        """Addresses of the pictures shown so far, each once."""
        return list(self.page.script("return window.recorded.frames[arguments[0]] ?? []", self.id))

    @property
    def steps(self) -> list[float]:
        """What the progress bar has shown so far."""
        return list(self.page.script("return window.recorded.steps[arguments[0]] ?? []", self.id))

    @property
    def final_pictures(self) -> list[WebElement]:
        """Those that are there and can be seen."""
        pictures = self.element.find_elements(By.CSS_SELECTOR, ".print img.final")
        return [picture for picture in pictures if picture.get_property("naturalWidth")]

    @property
    def has_final_picture(self) -> bool:
        return bool(self.final_pictures)

    def click(self, name: str) -> None:
        self.page.wait(lambda: self.part(name).is_displayed() and self.part(name).is_enabled())
        self.part(name).click()

    def choose(self, name: str) -> None:
        """From what is behind the dots."""
        self.click("menu summary")
        self.click(name)

    def wait_for(self, phase: str) -> None:
        self.page.wait(lambda: self.phase == phase, lambda: f"{self.phase}: {self.state}")

    def wait_until_painted(self) -> None:
        self.page.wait(lambda: self.has_final_picture, lambda: f"{self.phase}: {self.state}")


class Page:
    def __init__(self, driver: webdriver.Chrome, downloads: Path) -> None:
        self.driver = driver
        self.downloads = downloads
        self._tolerated: list[str] = []

    def reset(self) -> None:
        """Forget everything of the test before."""
        self._tolerated = []
        self.resize(1280, 900)
        self.emulate()
        self.complaints()

    def leave(self) -> None:
        """Nothing stays in the browser."""
        self.close_other_tabs()
        self.script(FORGET)
        self.driver.get("about:blank")

    def visit(self, url: str) -> None:
        self.driver.get(url)
        self.wait_for_sizes()

    def wait_for_sizes(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Until the server has told what it can paint."""
        self.wait(lambda: self.find_all("#size option[value]:nth-child(3)"), seconds=seconds)

    def open_tab(self, url: str) -> str:
        """Visits it in a new tab, and gives the name of the one that was open."""
        before = str(self.driver.current_window_handle)
        self.driver.switch_to.new_window("tab")
        record(self.driver)
        self.visit(url)
        return before

    def turn_to(self, tab: str) -> None:
        self.driver.switch_to.window(tab)

    def close_other_tabs(self) -> None:
        first, *others = self.driver.window_handles
        for tab in others:
            self.turn_to(tab)
            self.driver.close()
        self.turn_to(first)

    def reload(self) -> None:
        self.driver.refresh()

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def script(self, source: str, *arguments: object) -> Any:
        return self.driver.execute_script(source, *arguments)

    def wait(
        self,
        condition: Callable[[], T],
        state: Callable[[], object] = lambda: "",
        seconds: float = PATIENCE_SECONDS,
    ) -> T:
        """What `condition` gives as soon as that is true; a failure tells `state`."""
        try:
            waiting = WebDriverWait(self.driver, seconds, POLL_SECONDS, NOT_YET)
            return waiting.until(lambda _: condition())
        except Exception as error:
            error.add_note(f"state: {state()}")
            raise

    def cards(self) -> list[Card]:
        """Newest first."""
        return [Card(self, element) for element in self.find_all(".card")]

    def type_prompt(self, text: str) -> None:
        self.find("#prompt").clear()
        self.find("#prompt").send_keys(text)

    def choose(self, name: str, value: object) -> None:
        """Of a list."""
        self.find(f"select[name={name}] option[value='{value}']").click()

    def set_field(self, name: str, value: object) -> None:
        field = self.find(f"[name={name}]")
        field.clear()
        field.send_keys(str(value))

    def send(self, prompt: str) -> Card:
        """Type, click, and return the new card, whether or not the server takes it."""
        self.type_prompt(prompt)
        before = len(self.find_all(".card"))
        self.find("#generate").click()
        self.wait(lambda: len(self.find_all(".card")) > before)
        return self.cards()[0]

    def generate(self, prompt: str, **fields: object) -> Card:
        """Type, click, and return the new card once the server has it."""
        for name, value in fields.items():
            self.set_field(name, value)
        card = self.send(prompt)
        self.wait(lambda: card.id)
        return card

    @property
    def notice(self) -> str:
        """What is wrong with the server or the connection; empty if nothing is."""
        return self.find("#notice").text

    @property
    def focused(self) -> WebElement:
        return self.driver.switch_to.active_element

    def copied(self) -> str:
        """What is in the clipboard."""
        script = "navigator.clipboard.readText().then(arguments[0])"
        return str(self.driver.execute_async_script(script))

    def value_of(self, name: str) -> str:
        """Of a field of the form."""
        return str(self.find(f"[name={name}]").get_property("value"))

    def press(self, *keys: str, holding: str = "") -> None:
        """On whatever has the focus."""
        actions = ActionChains(self.driver)
        for key in holding:
            actions.key_down(key)
        actions.send_keys(*keys)
        for key in holding:
            actions.key_up(key)
        actions.perform()

    @property
    def flickers(self) -> int:
        """In how many of the browser's frames a picture that had been there was not to be seen."""
        return int(self.script("return window.recorded.flickers"))

    @property
    def moves(self) -> list[str]:
        """What went up or down by itself, not because of a click or a key, since the page was loaded."""
        script = "requestAnimationFrame(() => setTimeout(() => arguments[0](window.recorded.moves())))"
        return list(self.driver.execute_async_script(script))

    @property
    def tally(self) -> str:
        """How many pictures there are."""
        return self.find("#tally").text

    @property
    def steps_shown(self) -> list[float]:
        """By the progress bars, now."""
        return list(self.script("return [...document.querySelectorAll('.progress')].map((bar) => bar.value)"))

    def told(self, line: str) -> list[str]:
        """All that a line has said since the page was loaded: `tally`, `notice-text`, `live-state` or `announcer`."""
        return list(self.script("return window.recorded.texts[arguments[0]]", line))

    @property
    def open_streams(self) -> int:
        return int(self.script("return window.recorded.openStreams()"))

    @property
    def streams_ever(self) -> int:
        """Event streams that were opened since the page was loaded."""
        return int(self.script("return window.recorded.streamsEver()"))

    @property
    def most_streams(self) -> int:
        """The most event streams that were ever open at a time since the page was loaded."""
        return int(self.script("return window.recorded.mostStreams"))

    def resize(self, width: int, height: int, *, is_phone: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def emulate(self, **features: str) -> None:
        """Media features of the reader: `prefers_color_scheme="dark"`."""
        pairs = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": pairs})

    @contextlib.contextmanager
    def unplugged(self) -> Iterator[None]:
        """This tab has no network."""
        self.driver.execute_cdp_cmd("Network.enable", {})
        limits = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **limits})
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **limits})

    @contextlib.contextmanager
    def before_its_scripts(self, source: str) -> Iterator[None]:
        """Every page that is loaded meanwhile finds the browser as `source` has changed it."""
        added = self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)

    def tolerate(self, *texts: str) -> None:
        """Chromium logs every answer that is an error; a test that provokes one names it."""
        self._tolerated.extend(texts)

    def complaints(self) -> list[str]:
        """What the browser logged since the last call, as one line each."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        lines = [json.dumps(entry) for entry in entries]
        return [line for line in lines if not any(text in line for text in self._tolerated)]
