"""A stand-in for the Hugging Face hub: repositories that are folders, told and given as the hub does."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """`root` holds repositories as `owner/name` folders; `given` are the files that were downloaded."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.given: set[str] = set()
        self.url = ""

    def record(self, repository: str) -> dict[str, object]:
        siblings = [{"rfilename": name, "size": size} for name, size in self._sizes(repository).items()]
        return {"id": repository, "modelId": repository, "sha": COMMIT, "private": False, "siblings": siblings}

    def tree(self, repository: str) -> list[dict[str, object]]:
        files = self._sizes(repository).items()
        return [{"type": "file", "path": name, "size": size, "oid": COMMIT} for name, size in files]

    def _sizes(self, repository: str) -> dict[str, int]:
        folder = self.root / repository
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        return {str(file.relative_to(folder)): file.stat().st_size for file in files}

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self)) as server:
            self.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *args: object) -> None:
        self._hub = hub
        super().__init__(*args)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing on the terminal."""

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        if path.startswith("api/models/"):
            _, _, owner, name, *rest = path.split("/")
            return self._tell(f"{owner}/{name}", is_tree=rest[:1] == ["tree"])
        repository, _, file = path.partition("/resolve/main/" if "/resolve/main/" in path else f"/resolve/{COMMIT}/")
        return self._give(repository, file, with_body=with_body)

    def _tell(self, repository: str, *, is_tree: bool) -> None:
        if not (self._hub.root / repository).is_dir():
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        told = self._hub.tree(repository) if is_tree else self._hub.record(repository)
        return self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _give(self, repository: str, file: str, *, with_body: bool) -> None:
        path = self._hub.root / repository / file
        if not path.is_file():
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        contents = path.read_bytes()
        if with_body:
            self._hub.given.add(file)
        headers = {"ETag": f'"{hashlib.sha256(contents).hexdigest()}"', "X-Repo-Commit": COMMIT}
        return self._send(200, contents, headers, with_body=with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, with_body: bool = True) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)
