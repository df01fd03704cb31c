"""The command as people run it: real processes, real signals."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.service.harness import body

ROOT = Path(__file__).resolve().parents[2]
READY = re.compile(r"ready: (http://\S+)")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "service", *arguments]


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, **environment}
    return subprocess.run(command(*arguments), cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)


class Served:
    """A service that runs, and what it has printed."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.rstrip("\n"))
            if match := READY.search(line):
                self.url = match[1]
                return
        raise AssertionError(f"it never became ready: {self.lines}")

    def get(self, path: str) -> int:
        with suppress(urllib.error.HTTPError):
            return int(urllib.request.urlopen(self.url + path, timeout=10).status)
        return 503

    def create(self, **fields: object) -> str:
        """Starts a generation; its id."""
        data = json.dumps(body(**fields)).encode()
        request = urllib.request.Request(f"{self.url}/v1/generations", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(json.load(answer)["id"])

    def status(self, generation_id: str) -> str:
        with urllib.request.urlopen(f"{self.url}/v1/generations/{generation_id}", timeout=10) as answer:
            return str(json.load(answer)["status"])

    @property
    def worker_pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def end(self) -> tuple[int, str]:
        """Exit code, and all that was still printed."""
        output, _ = self.process.communicate(timeout=30)
        return self.process.returncode, output


@contextmanager
def served(*arguments: str) -> Iterator[Served]:
    process = subprocess.Popen(
        command("serve", "--engine", "fake", "--port", "0", *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Served(process)
    finally:
        process.kill()
        process.communicate()


def soon(is_true: Callable[[], object], seconds: float = 15.0) -> bool:
    """Whether it becomes true in time."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_running(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def test_help_and_version() -> None:
    assert run("--version").stdout.startswith("latentcast ")
    assert "Paints pictures" in run("--help").stdout
    text = run("serve", "--help").stdout
    for flag in ("--host", "--model", "--batching {step,call}", "--max-queue-cost", "--drain-timeout"):
        assert flag in text
    assert "fake" not in text
    assert "--negative-prompt" in run("generate", "--help").stdout


def test_a_good_start_says_what_and_where_and_no_more_and_ends_well() -> None:
    with served() as service:
        assert service.lines[0].startswith("latentcast ")
        assert service.lines[1:] == [
            "loading the fake engine",
            "fake on cpu in float32, batching by step",
            f"ready: {service.url}",
        ]
        assert service.get("/readyz") == service.get("/livez") == 200
        service.process.terminate()
        code, output = service.end()
        assert code == 0
        assert output == "stopping: running generations may finish; stop again to abort\n"


def test_what_runs_at_a_stop_may_finish() -> None:
    with served("--fake-step-ms", "100") as service:
        one = service.create(num_inference_steps=10)
        assert soon(lambda: service.status(one) == "running")
        service.process.send_signal(signal.SIGINT)
        assert soon(lambda: service.get("/readyz") == 503)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            service.create()
        events = urllib.request.urlopen(f"{service.url}/v1/generations/{one}/events", timeout=10).read()
        assert b"event: succeeded" in events
        assert service.end()[0] == 0


def test_what_runs_too_long_is_ended_by_the_timeout() -> None:
    with served("--fake-step-ms", "200", "--drain-timeout", "0.2") as service:
        one = service.create(num_inference_steps=50)
        assert soon(lambda: service.status(one) == "running")
        service.process.terminate()
        assert service.end()[0] == 0


def test_a_second_signal_aborts() -> None:
    with served("--fake-step-ms", "200") as service:
        one = service.create(num_inference_steps=50)
        assert soon(lambda: service.status(one) == "running")
        service.process.terminate()
        assert soon(lambda: service.get("/readyz") == 503)
        service.process.terminate()
        code, output = service.end()
        assert code == 1
        assert output.splitlines()[-1] == "latentcast: aborted by a second signal"


def test_a_service_killed_hard_leaves_no_worker_behind() -> None:
    with served("--workers", "2", "--fake-step-ms", "100") as service:
        workers = service.worker_pids
        assert len(workers) == 2
        service.create(num_inference_steps=50)
        service.process.kill()
        assert soon(lambda: not any(map(is_running, workers)))


def test_a_killed_worker_is_replaced_and_its_generation_fails() -> None:
    with served("--fake-step-ms", "100") as service:
        one = service.create(num_inference_steps=50)
        assert soon(lambda: service.status(one) == "running")
        os.kill(service.worker_pids[0], signal.SIGKILL)
        assert soon(lambda: service.status(one) == "failed")
        assert soon(lambda: service.get("/readyz") == 200)
        again = service.create(num_inference_steps=1)
        assert soon(lambda: service.status(again) == "succeeded")
        metrics = urllib.request.urlopen(f"{service.url}/metrics", timeout=10).read()
        assert b'latentcast_worker_restarts_total{reason="crash"} 1.0' in metrics


def test_prompts_are_not_logged() -> None:
    with served("--access-log") as service:
        urllib.request.urlopen(f"{service.url}/generate?prompt=a+secret&width=64&height=64", timeout=10).read()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{service.url}/generate?prompt=secret{'x' * 100_000}", timeout=10)
        service.process.terminate()
        _, output = service.end()
        assert "GET /generate 200" in output
        assert "secret" not in output


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("serve", "--engine", "fake", "--port", port)
    assert result.returncode == 1
    assert result.stderr == f"latentcast: --host 127.0.0.1 --port {port}: it is taken; choose another one\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        (["--port", "99999"], {}, "latentcast: --port 99999: must be a whole number from 0 to 65535\n"),
        (
            [],
            {"LATENTCAST_DTYPE": "int8"},
            "latentcast: LATENTCAST_DTYPE=int8: must be one of auto, float32, bfloat16, float16\n",
        ),
    ],
)
def test_a_bad_setting(arguments: list[str], environment: dict[str, str], line: str) -> None:
    result = run("serve", *arguments, **environment)
    assert (result.returncode, result.stderr, result.stdout) == (2, line, "")


def test_a_flag_that_does_not_exist() -> None:
    result = run("serve", "--colour", "red")
    assert result.returncode == 2
    assert "unrecognized arguments: --colour red" in result.stderr


def test_a_host_that_is_not_here() -> None:
    result = run("serve", "--engine", "fake", "--host", "192.0.2.1")
    assert result.returncode == 1
    assert result.stderr.startswith("latentcast: --host 192.0.2.1 --port 8000: ")
    assert result.stderr.count("\n") == 1


def test_it_goes_on_when_nobody_reads_what_it_prints() -> None:
    with served("--fake-step-ms", "20") as service:
        assert service.process.stdout is not None
        service.process.stdout.close()
        service.process.stdout = None
        (worker,) = service.worker_pids
        os.kill(worker, signal.SIGKILL)
        assert soon(lambda: service.get("/readyz") == 503)
        assert soon(lambda: service.get("/readyz") == 200)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=30) == 0
