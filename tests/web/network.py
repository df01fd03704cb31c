"""A network between browser and service that a test can cut."""

import contextlib
import socket
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65536


@dataclass(eq=False)
class _Connection:
    """One of the browser's, and the one to the service that it is passed on to."""

    near: socket.socket
    far: socket.socket
    asked: bytes = b""  # the newest request
    is_silent: bool = False

    def shut(self) -> None:
        for one in (self.near, self.far):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class CuttableNetwork:
    """Listens on `port` and passes every connection on to `target_port`, both on this machine."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._lock = threading.Lock()
        self._open: set[_Connection] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every connection; new ones work."""
        with self._lock:
            for connection in self._open:
                connection.shut()

    def silence(self, path: str) -> None:
        """Pass nothing on any more where `path` was asked for, and close nothing; new connections work."""
        with self._lock:
            for connection in self._open:
                connection.is_silent |= connection.asked.startswith(b"GET " + path.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                near.close()
                continue
            connection = _Connection(near, far)
            with self._lock:
                self._open.add(connection)
            thread = threading.Thread(target=self._join, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _join(self, connection: _Connection) -> None:
        back = threading.Thread(target=self._pass_back, args=(connection,), daemon=True)
        back.start()
        self._pass_on(connection)
        back.join()
        with self._lock:
            self._open.remove(connection)
        connection.near.close()
        connection.far.close()

    @staticmethod
    def _pass_on(connection: _Connection) -> None:
        """What the browser says."""
        with contextlib.suppress(OSError):
            while data := connection.near.recv(CHUNK_BYTES):
                if data.startswith((b"GET ", b"POST ", b"DELETE ")):
                    connection.asked = data
                if not connection.is_silent:
                    connection.far.sendall(data)
        connection.shut()

    @staticmethod
    def _pass_back(connection: _Connection) -> None:
        """What the service says."""
        with contextlib.suppress(OSError):
            while data := connection.far.recv(CHUNK_BYTES):
                if not connection.is_silent:
                    connection.near.sendall(data)
        connection.shut()
