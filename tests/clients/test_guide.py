"""docs/clients.md, the sections that take more than one program: their snippets do what they say."""

import asyncio
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.clients.browser import Browser, wait_until
from tests.clients.nginx import running_nginx
from tests.clients.watchers import curl
from tests.tools import require_tool
from tests.web.server import REPOSITORY, Server

TEXT = (REPOSITORY / "docs/clients.md").read_text()
TIMEOUT_SECONDS = 60


def snippets(title: str, language: str) -> list[str]:
    """Those of one section."""
    section = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    (text,) = [each for each in section if each.startswith(f"{title}\n")]
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found
    return found


def run_shell(script: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """With `latentcast` and nothing else in front of the path."""
    (folder / "bin").mkdir(exist_ok=True)
    command = folder / "bin" / "latentcast"
    command.write_text(f'#!/bin/sh\nexport PYTHONPATH={REPOSITORY}\nexec {sys.executable} -m service "$@"\n')
    command.chmod(0o700)
    path = f"{command.parent}:/usr/local/bin:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done


def before_serving(snippet: str) -> tuple[str, list[str]]:
    """What is done before the service is started, and the flags that it is started with."""
    *before, serve = snippet.strip().splitlines()
    assert serve.startswith("latentcast serve ")
    return "\n".join(before), shlex.split(serve)[2:]


def absolute(flags: list[str], folder: Path) -> list[str]:
    return [str(folder / flag) if (folder / flag).exists() else flag for flag in flags]


@pytest.mark.parametrize("snippet", snippets("curl", "bash"))
def test_curl(snippet: str, server: Server, tmp_path: Path) -> None:
    require_tool("curl")
    output = run_shell(snippet.replace("http://127.0.0.1:8000", server.url), tmp_path).stdout
    if "house.jpeg" in snippet:
        assert output.splitlines()[-1] == "event: succeeded"
        assert (tmp_path / "house.jpeg").read_bytes().startswith(b"\xff\xd8")
    else:
        assert output.count('"total_steps":8') >= 2


@pytest.mark.parametrize("snippet", snippets("EventSource", "html"))
def test_event_source(snippet: str, server: Server, browser: Browser) -> None:
    browser.visit(server.url)
    page = snippet.replace("http://127.0.0.1:8000", server.url)
    browser.write(page)
    wait_until(lambda: browser.run("return source.readyState === EventSource.CLOSED"))
    assert browser.run("return document.getElementById('picture').naturalWidth") == 256


@pytest.mark.parametrize("snippet", snippets("latentcast generate", "bash"))
def test_latentcast_generate(snippet: str, server: Server, tmp_path: Path) -> None:
    run_shell(snippet.replace("http://127.0.0.1:8000", server.url), tmp_path)
    assert (tmp_path / "boat.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "forming.gif").read_bytes().startswith(b"GIF89a")


def test_tls(tmp_path: Path) -> None:
    setup, use = snippets("TLS", "bash")
    before, flags = before_serving(setup)
    run_shell(before, tmp_path)
    with Server("--engine", "fake", *absolute(flags, tmp_path), "--tls-port", "0") as server:
        output = run_shell(use.replace("https://127.0.0.1:8443", server.tls_url), tmp_path).stdout
    assert '"status":"ready"' in output


def test_api_keys(tmp_path: Path) -> None:
    setup, use = snippets("API keys", "bash")
    before, flags = before_serving(setup)
    key = run_shell(before, tmp_path).stderr.split()[-1]
    with Server("--engine", "fake", *absolute(flags, tmp_path)) as server:
        output = run_shell(use.replace("http://127.0.0.1:8000", server.url), tmp_path, KEY=key).stdout
    assert '"object":"list"' in output
    assert output.endswith("data: [DONE]\n\n")


async def test_nginx(server: Server, tmp_path: Path) -> None:
    (configuration,) = snippets("Behind nginx", "nginx")
    with running_nginx(tmp_path, server.url, configuration) as url:
        async with curl(f"{url}/stream", {"prompt": "a red boat", "num_inference_steps": 4}) as events:
            last = [event async for event in events][-1]
        assert "images" in last.json
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/generate") as socket:
            await socket.send_json({"prompt": "a red boat", "num_inference_steps": 4})
            async with asyncio.timeout(TIMEOUT_SECONDS):
                messages = [message async for message in _until_done(socket)]
        assert messages[-2]["step"] == 4


async def _until_done(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[dict[str, Any]]:
    while True:
        message = await socket.receive_json()
        yield message
        if message.get("done"):
            return
