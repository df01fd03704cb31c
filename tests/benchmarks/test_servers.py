"""Servers really started, and loaded by the real client in a process of its own."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks import compare
from benchmarks.compare import Setup, run_round
from benchmarks.results import LoadResult
from benchmarks.servers import ServerError, free_port, running_server
from benchmarks.workload import Workload

FAKE = ("service", "serve", "--engine", "fake", "--fake-step-ms", "20")


def test_load_of_a_running_service(tmp_path: Path) -> None:
    port = free_port()
    output = tmp_path / "load.json"
    command = [sys.executable, "-m", "benchmarks.load", "--clients", "4", "--count", "12", "--steps", "4", "12"]
    with running_server([*FAKE, "--port", str(port)], port, tmp_path / "service.log") as server:
        command += ["--url", f"{server.url}/stream", "--json", str(output)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "12 images in" in done.stdout
    assert "12/12" in done.stderr  # progress
    result = msgspec.json.decode(output.read_bytes(), type=LoadResult)
    assert result.summary.images == 12
    assert result.summary.errors == {}
    for sample in result.samples:
        assert 1 <= len(sample.previews) <= {4: 1, 12: 3}[sample.steps]
        assert list(sample.previews) == sorted(sample.previews)
        assert sample.previews[-1] <= sample.ended


def test_load_of_nobody_fails(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/stream"
    command = [sys.executable, "-m", "benchmarks.load", "--count", "2", "--url", url, "--json", str(tmp_path / "x")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    assert msgspec.json.decode((tmp_path / "x").read_bytes(), type=LoadResult).summary.errors == {"connection": 2}


def test_a_round_of_the_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compare.MODES, "step", FAKE)
    workload = Workload(steps=(4,), sizes=((64, 64),))
    setup = Setup(dtype="float32", model=None, clients=3, count=6, workload=workload, logs=tmp_path)
    result = run_round("step", 0, setup)
    assert result.load.images == 6
    assert result.start_seconds > 0
    assert result.lone_first_preview is not None
    assert result.service_mib > 10
    assert result.worker_mib > 10


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    command = ["service", "serve", "--port", "none"]
    reason = r"(?s)exited with .* before it was ready:.*port"
    with pytest.raises(ServerError, match=reason), running_server(command, free_port(), tmp_path / "log"):
        pass
