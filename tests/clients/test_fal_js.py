"""fal's JavaScript client, unmodified: told where the service is by a request middleware, or by a proxy's URL."""

from typing import Any

import pytest

from tests.clients.node import Node
from tests.web.server import Server

OUTLINE = {
    "seed": 7,
    "images": [{"content_type": "image/jpeg", "width": 64, "height": 64}],
    "isDataUrl": True,
}
WRONG = "width: must be a multiple of 8"


@pytest.fixture(scope="module", params=["middleware", "proxy"])
def seen(request: pytest.FixtureRequest, server: Server, node: Node) -> Any:
    """What `fal.js` saw."""
    with_sockets = {"NODE_OPTIONS": "--experimental-websocket"}  # Node 20 has them behind a flag
    return node.run_file("fal.js", server.url, request.param, environment=with_sockets)


def test_a_stream_is_done_with_the_finished_picture(seen: Any) -> None:
    steps = seen["stream"]["steps"]
    assert seen["stream"] == {"step": 6, "steps": steps, **OUTLINE}
    assert steps == sorted(set(steps) & {1, 3, 5, 6})
    assert steps[-1] == 6


def test_run(seen: Any) -> None:
    assert seen["run"] == {**OUTLINE, "hasRequestId": True}


@pytest.mark.parametrize("mode", ["polling", "streaming"])
def test_subscribe(seen: Any, mode: str) -> None:
    statuses = seen[mode]["statuses"]
    assert seen[mode] == {"statuses": statuses, **OUTLINE}
    assert statuses[-1] == "COMPLETED"
    assert set(statuses) <= {"IN_QUEUE", "IN_PROGRESS", "COMPLETED"}


def test_a_cancelled_request_is_told_apart(seen: Any) -> None:
    result = {"name": "ApiError", "status": 410, "message": "the generation was cancelled", "code": "cancelled"}
    assert seen["submit"] == {"status": "IN_QUEUE", "last": "COMPLETED", "result": result}


def test_realtime_lives_on_after_an_error(seen: Any) -> None:
    assert seen["realtime"] == {"errors": [f"validation: {WRONG}"], "seed": 7, "isBytes": True, "width": 64}


@pytest.mark.parametrize("request_kind", ["wrong", "wrongStream"])
def test_errors_are_its_own(seen: Any, request_kind: str) -> None:
    assert seen[request_kind] == {"name": "ValidationError", "status": 422, "message": WRONG, "code": "multiple_of"}


def test_a_stream_that_fails_does_not_end_well(seen: Any) -> None:
    assert seen["cancelledStream"] == {"name": "ApiError", "status": 500, "message": "terminated"}
