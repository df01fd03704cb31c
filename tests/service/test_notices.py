"""A prompt that was cut: every route says so beside the pictures, and says nothing where none was."""

from typing import Any

import msgspec
import pytest

from scheduler.fake_engine import MAX_WORDS
from tests.service.harness import Service, body, parse_events

WHOLE = "boat " * MAX_WORDS
CUT = WHOLE + "boat"


async def fal_stream(service: Service, prompt: str) -> Any:
    answer = await service.http.post("/stream", json=body(prompt=prompt))
    return parse_events(await answer.read())[-1].json


async def fal_answer(service: Service, prompt: str) -> Any:
    return await (await service.http.post("/", json=body(prompt=prompt))).json()


async def event_source(service: Service, prompt: str) -> Any:
    answer = await service.http.get(
        "/generate", params={name: str(value) for name, value in body(prompt=prompt, encoding="url").items()}
    )
    return parse_events(await answer.read())[-2].json  # [DONE] is the last


async def openai_stream(service: Service, prompt: str) -> Any:
    fields = {"prompt": prompt, "size": "64x64", "stream": True}
    answer = await service.http.post("/v1/images/generations", json=fields)
    return parse_events(await answer.read())[-1].json


async def openai_answer(service: Service, prompt: str) -> Any:
    answer = await service.http.post("/v1/images/generations", json={"prompt": prompt, "size": "64x64"})
    return await answer.json()


async def websocket(service: Service, prompt: str) -> Any:
    async with service.http.ws_connect("/generate") as socket:
        await socket.send_json(body(prompt=prompt))
        while not (message := await socket.receive_json()).get("done"):
            pass
        return message


async def realtime(service: Service, prompt: str) -> Any:
    async with service.http.ws_connect("/realtime") as socket:
        await socket.send_bytes(msgspec.msgpack.encode(body(prompt=prompt)))
        while "timings" not in (message := msgspec.msgpack.decode(await socket.receive_bytes())):
            pass
        return message


@pytest.mark.parametrize(
    "ask", [fal_stream, fal_answer, event_source, openai_stream, openai_answer, websocket, realtime]
)
async def test_a_prompt_that_was_cut_is_told(service: Service, ask: Any) -> None:
    assert (await ask(service, CUT))["prompt_truncated"] is True
    assert "prompt_truncated" not in await ask(service, WHOLE)
