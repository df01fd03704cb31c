"""What every route that starts a generation refuses, over real HTTP: a clear 4xx, and the service goes on."""

import json
from typing import Any

import aiohttp
import pytest

from service.api.admission import MAX_BODY_BYTES
from tests.service.harness import Service, body

ROUTES = ["/stream", "/", "/v1/generations"]
JSON = {"Content-Type": "application/json"}


async def post(service: Service, path: str, data: bytes, headers: dict[str, str] = JSON) -> tuple[int, dict[str, Any]]:
    """Status and error body; the service must still be alive after it."""
    answer = await service.http.post(path, data=data, headers=headers)
    assert answer.content_type == "application/json"
    error: dict[str, Any] = await answer.json()
    assert set(error) == {"detail", "message", "error_type", "error"}
    assert (await service.http.get("/livez")).status == 200
    return answer.status, error


@pytest.mark.parametrize("path", ROUTES)
async def test_every_wrong_field_is_told(service: Service, path: str) -> None:
    wrong = body(width=100, num_inference_steps=0, colour="red", sampler="heun")
    status, error = await post(service, path, json.dumps(wrong).encode())
    assert status == 422
    assert {problem["loc"][-1] for problem in error["detail"]} == {"width", "num_inference_steps", "colour", "sampler"}
    assert service.metric("requests_rejected_total", reason="invalid") == 1


@pytest.mark.parametrize("path", ROUTES)
async def test_one_error_has_the_shape_that_all_clients_parse(service: Service, path: str) -> None:
    status, error = await post(service, path, json.dumps(body(width=100)).encode())
    assert status == 422
    assert error == {
        "detail": [{"loc": ["body", "width"], "msg": "must be a multiple of 8", "type": "multiple_of"}],
        "message": "width: must be a multiple of 8",
        "error_type": "validation",
        "error": {
            "message": "width: must be a multiple of 8",
            "type": "invalid_request_error",
            "param": "width",
            "code": "multiple_of",
        },
    }


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"nonsense", b"\xff\xfe", b"[" * 50_000, b'{"seed": ' + b"1" * 5000 + b"}", b'{"prompt": "a"} x'],
)
async def test_what_is_not_json(service: Service, data: bytes) -> None:
    status, error = await post(service, "/stream", data)
    assert status == 400
    assert error["message"] == "must be valid JSON"


@pytest.mark.parametrize("data", [b"[]", b"null", b"3", b'"a"', b"NaN"])
async def test_json_that_is_no_object(service: Service, data: bytes) -> None:
    status, error = await post(service, "/stream", data)
    assert status == 422
    assert error["message"] == "must be a JSON object"


@pytest.mark.parametrize(
    "text", ['{"prompt": "\\ud800"}', '{"prompt": "a", "\\udc00": 1}', '{"prompt": "a", "guidance_scale": NaN}']
)
async def test_text_that_is_no_text_and_numbers_that_are_no_numbers(service: Service, text: str) -> None:
    status, _ = await post(service, "/stream", text.encode())
    assert status == 422


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
async def test_another_content_type(service: Service, content_type: str) -> None:
    status, error = await post(service, "/stream", b"{}", {"Content-Type": content_type})
    assert status == 415
    assert "application/json" in error["message"]


async def test_a_charset_is_no_fault(service: Service) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = await service.http.post(
        "/v1/generations", data=json.dumps(body(prompt="ein Boot am Fluß")), headers=headers
    )
    assert answer.status == 202


async def test_a_compressed_body(service: Service) -> None:
    status, _ = await post(service, "/stream", b"{}", {**JSON, "Content-Encoding": "gzip"})
    assert status == 415


@pytest.mark.parametrize("path", ROUTES)
async def test_a_body_of_a_megabyte(service: Service, path: str) -> None:
    status, error = await post(service, path, json.dumps(body(prompt="a" * 1_000_000)).encode())
    assert status == 413
    assert str(MAX_BODY_BYTES) in error["message"]
    assert service.metric("requests_rejected_total", reason="too_large") == 1


async def test_a_body_of_a_megabyte_in_chunks(service: Service) -> None:
    async def chunks() -> Any:
        for _ in range(16):
            yield b"a" * 65536

    try:
        answer = await service.http.post("/stream", data=chunks(), headers=JSON)
        assert answer.status == 413
    except aiohttp.ClientConnectionError:
        pass  # the answer came, and the connection ended, before all was sent
    assert (await service.http.get("/livez")).status == 200


async def test_unknown_addresses_and_methods(service: Service) -> None:
    answer = await service.http.get("/v1/generation")
    assert (answer.status, (await answer.json())["error_type"]) == (404, "not_found")
    answer = await service.http.put("/v1/generations")
    assert (answer.status, (await answer.json())["error_type"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


async def test_fal_callers_may_send_what_they_always_send(service: Service) -> None:
    extra = {
        "sync_mode": True,
        "enable_safety_checker": True,
        "safety_checker_version": "v1",
        "expand_prompt": False,
        "enable_prompt_expansion": False,
        "num_images": 1,
        "format": "png",
        "image_size": "square_hd",
    }
    wanted = {**{name: value for name, value in body().items() if name not in ("width", "height")}, **extra}
    answer = await service.http.post("/", json=wanted)
    assert answer.status == 200
    assert (await answer.json())["image"]["content_type"] == "image/png"
