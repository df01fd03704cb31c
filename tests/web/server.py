"""Starts the service as a user does, in a process of its own."""

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 60.0
END_SECONDS = 20.0
URL = re.compile(r"http://127\.0\.0\.1:(\d+)")
LOADING = re.compile("loading the model")
TLS_URL = re.compile(r"https://127\.0\.0\.1:\d+")


class Server:
    """`with Server("--engine", "fake") as server: server.url`.

    It takes work then, unless it is asked for while the model is being loaded; for that, it needs a port.
    """

    def __init__(self, *flags: str, port: int = 0, is_loaded: bool = True) -> None:
        command = [sys.executable, "-m", "service", "serve", "--port", str(port), *flags]
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: list[str] = []
        self._told = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._wait_for(URL if is_loaded else LOADING)
        match = URL.search(self.printed)
        self.port = int(match[1]) if match else port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        """Of a service with `--tls-cert` and `--tls-key`."""
        match = TLS_URL.search(self.printed)
        assert match is not None, self.printed
        return match[0]

    @property
    def printed(self) -> str:
        """What it has said so far."""
        with self._told:
            return "".join(self._lines)

    def kill_worker(self) -> None:
        """As a fault of the device would."""
        (worker,) = psutil.Process(self._process.pid).children()
        worker.kill()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._finish()

    def _finish(self) -> None:
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._told:
                self._lines.append(line)
                self._told.notify_all()
        with self._told:
            self._told.notify_all()

    def _wait_for(self, words: re.Pattern[str]) -> None:
        """Until it has said them."""

        def are_said_or_never_will() -> bool:
            return words.search("".join(self._lines)) is not None or not self._reader.is_alive()

        with self._told:
            self._told.wait_for(are_said_or_never_will, START_SECONDS)
        if not words.search(self.printed):
            self._process.kill()
            self._finish()
            raise RuntimeError(f"the service did not say {words.pattern}:\n{self.printed}")
