"""Clients that insist on https reach the same service over TLS."""

import json
import ssl
import urllib.request
from collections.abc import Mapping
from typing import Any

import pytest

from tests.clients.node import Node
from tests.web.server import Server


def fetch(url: str, trust: Mapping[str, str] | None = None) -> Any:
    context = ssl.create_default_context(cafile=trust["SSL_CERT_FILE"] if trust else None)
    with urllib.request.urlopen(url, context=context, timeout=10) as answer:
        return json.load(answer)


def test_both_listeners_are_of_one_service(server: Server, trust: Mapping[str, str]) -> None:
    data = json.dumps({"prompt": "a red boat", "num_inference_steps": 1}).encode()
    asked = urllib.request.Request(f"{server.url}/v1/generations", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        created = json.load(answer)
    assert fetch(f"{server.tls_url}/v1/generations/{created['id']}", trust)["seed"] == created["seed"]


def test_who_does_not_trust_the_authority_is_not_fooled(server: Server) -> None:
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(f"{server.tls_url}/readyz")


def test_node_trusts_it_by_the_environment(server: Server, node: Node, trust: Mapping[str, str]) -> None:
    script = "console.log((await (await fetch(`${process.argv[2]}/readyz`)).json()).status)"
    assert node.run(script, server.tls_url, environment=trust) == "ready\n"
