import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from service.errors import ApiError, Problem, answer_errors, of_http_exception, unavailable


def test_several_problems_in_one_body() -> None:
    problems = [
        Problem(loc=["body", "image_size", "width"], msg="must be a multiple of 8", type="multiple_of"),
        Problem(loc=["body", "seed"], msg="must be at least 0", type="greater_than_equal"),
    ]
    body = ApiError(422, "validation", problems).body
    assert body.message == "image_size.width: must be a multiple of 8; seed: must be at least 0"
    assert body.detail == problems
    assert (body.error.param, body.error.code) == ("image_size.width", "multiple_of")


def test_an_error_about_the_whole_request() -> None:
    body = ApiError.plain(404, "not_found", "generation: not found").body
    assert body.model_dump() == {
        "detail": [{"loc": [], "msg": "generation: not found", "type": "not_found"}],
        "message": "generation: not found",
        "error_type": "not_found",
        "error": {
            "message": "generation: not found",
            "type": "invalid_request_error",
            "param": None,
            "code": "not_found",
        },
    }


def test_an_answer_is_ascii_whatever_the_client_wrote() -> None:
    problem = Problem(loc=["body", "\udc00ü"], msg="is not a known field", type="extra_forbidden")
    response = ApiError(422, "validation", [problem]).response()
    assert response.text is not None
    assert response.text.isascii()
    assert json.loads(response.text)["detail"][0]["loc"] == ["body", "\udc00ü"]


@pytest.mark.parametrize(("seconds", "header"), [(0, "1"), (0.2, "1"), (1.1, "2"), (30, "30")])
def test_when_to_come_back_is_in_whole_seconds(seconds: float, header: str) -> None:
    error = unavailable("queue_full", "the queue is full", seconds)
    assert error.status == 503
    assert error.headers == {"Retry-After": header}
    assert error.body.error.type == "server_error"


def test_errors_of_the_framework() -> None:
    error = of_http_exception(web.HTTPMethodNotAllowed("PUT", ["GET", "POST"]))
    assert (error.status, error.error_type, error.headers["Allow"]) == (405, "method_not_allowed", "GET,POST")
    assert of_http_exception(web.HTTPForbidden()).error_type == "forbidden"


async def test_what_nobody_foresaw_is_a_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: web.Request) -> web.Response:
        raise RuntimeError(request.query["prompt"] and "broken")

    async def moved(request: web.Request) -> web.Response:  # noqa: ARG001
        raise web.HTTPFound("/broken")

    app = web.Application(middlewares=[answer_errors])
    app.router.add_get("/broken", broken)
    app.router.add_get("/moved", moved)
    async with TestClient(TestServer(app)) as http:
        answer = await http.get("/broken", params={"prompt": "a secret"})
        assert answer.status == 500
        assert (await answer.json())["error"]["code"] == "internal_error"
        assert "GET /broken failed" in caplog.text
        assert "secret" not in caplog.text
        assert (await http.get("/moved", allow_redirects=False)).status == 302
