"""A really started service with Postcard, for the clients that people use."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from service.dev_cert import make_dev_cert
from tests.clients.browser import Browser
from tests.clients.node import Node
from tests.web.page import open_browser
from tests.web.server import Server

KEEP_ALIVE_SECONDS = 0.05  # so often that comments come between all events


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `latentcast dev-cert` makes."""
    folder = tmp_path_factory.mktemp("certs")
    make_dev_cert(folder, [], force=False)
    return folder


@pytest.fixture(scope="session")
def trust(certs: Path) -> Mapping[str, str]:
    """The environment of a client that trusts the service's certificate."""
    ca = str(certs / "ca.pem")
    return {"SSL_CERT_FILE": ca, "NODE_EXTRA_CA_CERTS": ca}


@pytest.fixture(scope="session")
def server(certs: Path) -> Iterator[Server]:
    """One for all clients, at `server.url` and over TLS at `server.tls_url`: no test may stop it, or fill its queue."""
    tls = ("--tls-cert", str(certs / "cert.pem"), "--tls-key", str(certs / "key.pem"), "--tls-port", "0")
    with Server("--keep-alive", str(KEEP_ALIVE_SECONDS), *tls) as server:
        yield server


@pytest.fixture(scope="session")
def node() -> Node:
    return Node()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    driver = open_browser(tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("downloads"))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
