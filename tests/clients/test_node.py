"""Node reaches the service with nothing but what it brings."""

from tests.clients.node import Node
from tests.web.server import Server


def test_fetch_finds_the_service_ready(server: Server, node: Node) -> None:
    script = "console.log((await (await fetch(`${process.argv[2]}/readyz`)).json()).status)"
    assert node.run(script, server.url) == "ready\n"
