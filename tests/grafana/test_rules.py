"""Recording rules and alerts, checked and tried by Prometheus' own tool."""

import re
import subprocess

import pytest

from tests.grafana.files import GRAFANA, names_in, registered_names
from tests.tools import require_tool

RULES = (GRAFANA / "rules.yml").read_text()


@pytest.mark.parametrize(
    "command", ["check rules rules.yml", "check config prometheus.yml", "test rules rules_test.yml"]
)
def test_prometheus_accepts(command: str) -> None:
    promtool = require_tool("promtool")
    done = subprocess.run([promtool, *command.split()], cwd=GRAFANA, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_named_exists() -> None:
    assert names_in(RULES) <= registered_names()


def test_every_alert_is_tried_and_says_what_to_do() -> None:
    alerts = re.findall(r"- alert: (\w+)\n(.*?)(?=\n      - alert|\Z)", RULES, re.DOTALL)
    tried = (GRAFANA / "rules_test.yml").read_text()
    assert len(alerts) >= 10
    for name, rule in alerts:
        assert f'alertname="{name}"' in tried
        assert "severity:" in rule
        assert "summary:" in rule
        assert "action:" in rule
