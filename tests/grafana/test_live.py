"""A real Prometheus scrapes a real service under load: every panel and every rule has something to show."""

import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from benchmarks.servers import free_port, running_server
from tests.grafana.files import GRAFANA, expressions
from tests.grafana.live import Prometheus, running_prometheus, wait_until

SERVICE = ["service", "serve", "--engine", "fake", "--fake-step-ms", "2"]
SECONDS = 25.0

# Panels that have nothing to show on a machine without a GPU.
EMPTY_WITHOUT_GPU = {"Device memory"}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    with (
        running_server([*SERVICE, "--port", str(port)], port, folder / "service.log") as server,
        running_prometheus(urlsplit(server.url).netloc, folder) as started,
        steady_load(server.url),
    ):
        yield started


class steady_load:  # noqa: N801 - a context manager, used like a function
    """Four clients that never stop."""

    def __init__(self, url: str) -> None:
        options = ["--clients", "4", "--count", "100000", "--steps", "8", "12", "--quiet"]
        self._command = [sys.executable, "-m", "benchmarks.load", "--url", f"{url}/stream", *options]

    def __enter__(self) -> None:
        self._process = subprocess.Popen(self._command, cwd=GRAFANA.parent, stderr=subprocess.DEVNULL)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=10)


def test_every_panel_has_data(prometheus: Prometheus) -> None:
    waiting = {filled_in(expr): title for title, expr in expressions() if title not in EMPTY_WITHOUT_GPU}

    def all_have_data() -> bool:
        for expr in [expr for expr in waiting if prometheus.has_data(expr)]:
            del waiting[expr]
        return not waiting

    try:
        wait_until(all_have_data, SECONDS, "data for every panel")
    except TimeoutError:
        pytest.fail(f"no data for {waiting}")


def filled_in(expr: str) -> str:
    """As Grafana fills it in, with every service chosen."""
    return expr.replace("$job", ".+").replace("$instance", ".+").replace("$__rate_interval", "5s")


def test_every_rule_is_evaluated_and_recorded(prometheus: Prometheus) -> None:
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    recorded = [rule["name"] for rule in rules if rule["type"] == "recording"]
    assert len(recorded) >= 15
    wait_until(lambda: all(map(prometheus.has_data, recorded)), SECONDS, "data for every recording rule")
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert [rule for rule in rules if rule["health"] != "ok"] == []


def test_a_healthy_service_raises_no_alert(prometheus: Prometheus) -> None:
    wait_until(lambda: prometheus.has_data('up{job="latentcast"} == 1'), SECONDS, "the service is scraped")
    assert prometheus.get("query", query='ALERTS{alertstate="firing"}')["result"] == []
