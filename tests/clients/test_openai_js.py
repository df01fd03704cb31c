"""OpenAI's JavaScript SDK, unmodified, in the two versions that are in use."""

import base64
from typing import Any

import pytest

from tests.clients.node import Node
from tests.clients.pictures import format_of, size_of
from tests.web.server import Server


@pytest.fixture(scope="module", params=["openai", "openai-7"])
def seen(request: pytest.FixtureRequest, server: Server, node: Node) -> Any:
    """What `openai.js` saw."""
    return node.run_file("openai.js", server.url, request.param)


def check(encoded: str, image_format: str) -> None:
    data = base64.b64decode(encoded, validate=True)
    assert (format_of(data), size_of(data)) == (image_format, (64, 64))


def test_pictures(seen: Any) -> None:
    answer = seen["plain"]
    assert (answer["size"], answer["output_format"], answer["quality"]) == ("64x64", "png", "high")
    assert len(set(answer["pictures"])) == 2
    for picture in answer["pictures"]:
        check(picture, "png")


@pytest.mark.parametrize("partial_images", [0, 1, 2, 3])
def test_a_stream_has_all_partial_images_and_the_picture(seen: Any, partial_images: int) -> None:
    *partial, completed = seen["streams"][partial_images]
    assert [event["type"] for event in partial] == ["image_generation.partial_image"] * partial_images
    assert [event["partial_image_index"] for event in partial] == list(range(partial_images))
    assert completed["type"] == "image_generation.completed"
    for event in (*partial, completed):
        check(event["b64_json"], event["output_format"])


def test_models(seen: Any) -> None:
    assert seen["models"] == {"count": 1, "isSame": True}


def test_errors_are_its_own(seen: Any) -> None:
    assert seen["wrong"] == {
        "kind": "BadRequestError",
        "status": 400,
        "message": "400 n: must be at most 4",
        "param": "n",
        "code": "less_than_equal",
    }
    assert (seen["unknown"]["kind"], seen["unknown"]["message"]) == ("NotFoundError", "404 model: not found")


def test_a_stream_that_fails_does_not_end_well(seen: Any) -> None:
    error = {"kind": "APIError", "message": "the generation was cancelled", "param": None, "code": "cancelled"}
    assert seen["cancelledStream"] == error
