import re

import pytest
from yarl import URL

from service.api.page import WEB_FOLDER
from tests.service.harness import Service

SPECIFICATION = "https://github.com/msgpack/msgpack/blob/master/spec.md"


@pytest.mark.parametrize("address", ["/", "/docs"])
async def test_a_page_and_all_that_it_names_are_served_with_safe_headers(service: Service, address: str) -> None:
    page = await service.http.get(address)
    assert (page.status, page.content_type) == (200, "text/html")
    files = re.findall(r'(?:href|src)="(web/[^"]+)"', await page.text())
    assert files
    for answer in [page, *[await service.http.get("/" + file) for file in files]]:
        assert answer.status == 200
        assert "img-src 'self' data: blob:" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_page_names_nothing_of_another_server() -> None:
    texts = [path.read_text() for path in WEB_FOLDER.iterdir()]
    named = {address for text in texts for address in re.findall(r"https?://[^\s\"')]+", text)}
    assert named <= {"http://www.w3.org/2000/svg", SPECIFICATION}


async def test_modules_have_a_type_that_browsers_run(service: Service) -> None:
    module = next(WEB_FOLDER.glob("*.js")).name
    answer = await service.http.get(f"/web/{module}")
    assert answer.content_type in ("text/javascript", "application/javascript")


@pytest.mark.parametrize("name", ["missing.js", "..%2Fsettings.py", "%2e%2e", "%00", "..%5Csettings.py", "a" * 300])
async def test_nothing_else_is_served(service: Service, name: str) -> None:
    answer = await service.http.get(URL(f"/web/{name}", encoded=True))
    assert answer.status == 404
    assert (await answer.json())["error_type"] == "not_found"


async def test_head_works_where_a_get_only_shows_something(service: Service) -> None:
    for path in ("/", "/docs", "/web/app.js", "/livez", "/readyz", "/metrics", "/openapi.json"):
        shown, asked = await service.http.get(path), await service.http.head(path)
        assert (asked.status, asked.content_type) == (200, shown.content_type), path
        assert await asked.read() == b""
    assert (await service.http.head("/generate?prompt=a")).status == 405
    assert service.metric("requests_received_total", route="generate") == 0
