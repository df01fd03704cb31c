import re

import pytest
from aiohttp import web

from service.app import RESERVED_WORDS
from service.routes import Route
from tests.service.harness import Service, body


async def handler(request: web.Request) -> web.StreamResponse:
    raise NotImplementedError


def test_only_owners_apps_and_models_have_patterns() -> None:
    assert Route("GET", "/v1/x/{id}/images/{number}", handler, "", []).pattern({"v1"}) == "/v1/x/{id}/images/{number}"
    assert Route("GET", "/v1/models/{model}", handler, "", []).pattern({"v1"}) == "/v1/models/{model:.+}"


@pytest.mark.parametrize(
    ("name", "is_allowed"),
    [("fal-ai", True), ("a.b_C-9", True), ("v10", True), ("v1", False), ("a b", False), ("", False), ("a:b", False)],
)
def test_the_name_of_an_owner(name: str, is_allowed: bool) -> None:
    pattern = Route("POST", "/{owner}", handler, "", []).pattern({"v1", "stream"})
    regex = pattern.removeprefix("/{owner:").removesuffix("}")
    assert bool(re.fullmatch(regex, name)) is is_allowed


def test_the_first_words_of_all_routes_are_reserved() -> None:
    assert {"v1", "fal", "queue", "generate", "stream", "realtime", "metrics", "web", "livez"} <= RESERVED_WORDS


@pytest.mark.parametrize(
    "path",
    ["/v1/generation", "/v1/images", "/queue/x", "/x/stream", "/fal/prox", "/generate/x", "/x/v1", "/x/y/z", "/x/"],
)
async def test_a_typo_is_not_a_generation(service: Service, path: str) -> None:
    answer = await service.http.post(path, json=body())
    assert answer.status == 404
    assert (await answer.json())["error_type"] == "not_found"
    assert service.metric("steps_total") == 0
