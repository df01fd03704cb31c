"""The command as people run it: real processes, real signals."""

import http.client
import json
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from service.dev_cert import make_dev_cert
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


def test_keys_are_asked_for_and_never_logged(tmp_path: Path) -> None:
    made = run("new-key", "alice")
    (tmp_path / "keys.txt").write_text(made.stdout)
    key = made.stderr.split()[-1]
    with served("--access-log", "--api-key-file", str(tmp_path / "keys.txt")) as service:
        query = "prompt=a+red+boat&width=64&height=64"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{service.url}/generate?{query}", timeout=10)
        urllib.request.urlopen(f"{service.url}/generate?{query}&key={key}", timeout=10).read()
        service.process.terminate()
        _, output = service.end()
        assert "GET /generate 401" in output
        assert "GET /generate 200" in output
        assert key not in output


def test_whoever_opens_the_service_to_a_network_without_keys_is_warned(tmp_path: Path) -> None:
    with served("--host", "0.0.0.0") as service:
        assert service.lines[1] == (
            "warning: whoever reaches 0.0.0.0 may use this service; --api-key-file asks for keys"
        )
    (tmp_path / "keys.txt").write_text(run("new-key", "alice").stdout)
    with served("--host", "0.0.0.0", "--api-key-file", str(tmp_path / "keys.txt")) as service:
        assert not any(line.startswith("warning") for line in service.lines)


def test_metrics_on_a_port_of_their_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with served("--metrics-port", str(port)) as service:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{service.url}/metrics", timeout=10)
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read()
        assert b"latentcast_build_info" in metrics
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10)


def test_a_certificate_to_try_and_a_service_that_uses_it(tmp_path: Path) -> None:
    made = run("dev-cert", "--dir", str(tmp_path))
    assert (made.returncode, made.stderr) == (0, "")
    tls = shlex.split(made.stdout.splitlines()[1])[2:]
    with served(*tls, "--tls-port", "0") as service:
        assert re.fullmatch(r"ready: http://127\.0\.0\.1:\d+ and https://127\.0\.0\.1:\d+", service.lines[-1])
        trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        url = service.lines[-1].split()[-1]
        assert urllib.request.urlopen(f"{url}/readyz", timeout=10, context=trusting).status == 200
    again = run("dev-cert", "--dir", str(tmp_path))
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == f"latentcast: {tmp_path / 'ca.pem'} is there already; --force replaces it\n"


def test_a_failure_reaches_its_reader_over_tls_too(tmp_path: Path) -> None:
    make_dev_cert(tmp_path, [], force=False)
    tls = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"), "--tls-port", "0")
    with served(*tls) as service:
        data = json.dumps(body(prompt="fail this request")).encode()
        url = service.lines[-1].split()[-1]
        asked = urllib.request.Request(f"{url}/stream", data, {"Content-Type": "application/json"})
        trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        answer = urllib.request.urlopen(asked, timeout=10, context=trusting)
        assert b"the fake engine was asked to fail this request" in answer.readline()
        with pytest.raises((OSError, http.client.IncompleteRead)):
            answer.read()


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("serve", "--engine", "fake", "--port", port)
    assert result.returncode == 1
    assert result.stderr == f"latentcast: --host 127.0.0.1 --port {port}: it is taken; choose another one\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        (["--tls-cert", "cert.pem"], {}, "latentcast: --tls-cert and --tls-key go together: give both, or neither\n"),
        (["--api-key-file", "/nowhere"], {}, "latentcast: --api-key-file /nowhere: No such file or directory\n"),
        (
            ["--metrics-port", "high"],
            {},
            "latentcast: --metrics-port high: must be a whole number from 0 to 65535\n",
        ),
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
