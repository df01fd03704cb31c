"""A Prometheus that scrapes a service, both really started."""

import json
import math
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.servers import free_port
from tests.grafana.files import GRAFANA
from tests.tools import require_tool

POLL_SECONDS = 0.2

CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs: [{{job_name: latentcast, static_configs: [{{targets: ["{target}"]}}]}}]
"""


class Prometheus:
    """The HTTP API of a running Prometheus."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=5) as response:
            return json.load(response)["data"]

    def has_data(self, expr: str) -> bool:
        """Whether an expression gives any number just now."""
        result = self.get("query", query=expr)["result"]
        return any(not math.isnan(float(series["value"][1])) for series in result)

    def is_up(self) -> bool:
        try:
            return bool(self.get("targets"))
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def running_prometheus(target: str, folder: Path) -> Iterator[Prometheus]:
    """Scrapes `target` (host:port) every second, with the rules of the project."""
    program = require_tool("prometheus")
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(rules=GRAFANA / "rules.yml", target=target))
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([program, *options], stdout=log, stderr=log)
    try:
        prometheus = Prometheus(f"http://{address}")
        wait_until(prometheus.is_up, seconds=20, what="Prometheus answers")
        yield prometheus
    finally:
        process.terminate()
        process.wait(timeout=10)


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(POLL_SECONDS)
