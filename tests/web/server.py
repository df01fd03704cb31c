"""Starts the service as a user does, in a process of its own."""

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 60.0
END_SECONDS = 20.0
URL = re.compile(r"http://127\.0\.0\.1:(\d+)")


class Server:
    """`with Server("--engine", "fake") as server: server.url`."""

    def __init__(self, *flags: str, port: int = 0) -> None:
        command = [sys.executable, "-m", "service", "serve", "--port", str(port), *flags]
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: list[str] = []
        self._told = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = self._wait_for_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

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

    def _wait_for_port(self) -> int:
        def port_or_end() -> bool:
            return self._find_port() is not None or not self._reader.is_alive()

        with self._told:
            self._told.wait_for(port_or_end, START_SECONDS)
        port = self._find_port()
        if port is None:
            self._process.kill()
            self._finish()
            raise RuntimeError("the service told no address:\n" + "".join(self._lines))
        return port

    def _find_port(self) -> int | None:
        match = URL.search("".join(self._lines))
        return int(match[1]) if match else None
