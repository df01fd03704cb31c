"""A real Chromium in front of a really started service."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.page import Page, open_browser
from tests.web.server import Server

STEP_MS = 40

collect_ignore = [] if os.environ.get("LATENTCAST_SCREENSHOTS") == "1" else ["test_screenshots.py"]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Shared by all tests that do not break it: 20 steps take a second."""
    with Server("--engine", "fake", "--fake-step-ms", str(STEP_MS)) as server:
        yield server


@pytest.fixture(scope="session")
def browser_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    profile, downloads = tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("downloads")
    driver = open_browser(profile, downloads)
    try:
        yield Page(driver, downloads)
    finally:
        driver.quit()


@pytest.fixture
def any_page(browser_page: Page) -> Iterator[Page]:
    """A page with nothing open yet; whatever the browser complains of in the test fails it."""
    browser_page.reset()
    for file in browser_page.downloads.iterdir():
        file.unlink()
    yield browser_page
    browser_page.leave()
    assert browser_page.complaints() == []


@pytest.fixture
def page(any_page: Page, server: Server) -> Page:
    """The page as a newcomer finds it."""
    any_page.visit(server.url)
    return any_page


@pytest.fixture
def downloads(page: Page) -> Path:
    return page.downloads
