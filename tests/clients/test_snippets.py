"""Every snippet of docs/clients.md does what it says."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.clients.node import Node
from tests.web.server import REPOSITORY, Server

TEXT = (REPOSITORY / "docs/clients.md").read_text()
TIMEOUT_SECONDS = 60


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def here(snippet: str, server: Server, trust: Mapping[str, str]) -> str:
    """With the addresses of this service."""
    for text, address in {
        "127.0.0.1:8000": server.url.removeprefix("http://"),
        "127.0.0.1:8443": server.tls_url.removeprefix("https://"),
        "certs/ca.pem": trust["SSL_CERT_FILE"],
    }.items():
        snippet = snippet.replace(text, address)
    return snippet


@pytest.mark.parametrize("snippet", snippets("python"))
def test_python(snippet: str, server: Server, trust: Mapping[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", here(snippet, server, trust)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("snippet", snippets("js"))
def test_javascript(snippet: str, server: Server, trust: Mapping[str, str], node: Node) -> None:
    with_sockets = {"NODE_OPTIONS": "--experimental-websocket"}  # Node 20 has them behind a flag
    assert node.run(here(snippet, server, trust), environment=with_sockets)


def test_there_are_snippets_of_both_kinds() -> None:
    assert len(snippets("python")) >= 3
    assert len(snippets("js")) >= 5
