"""Debian's nginx in front of the service, as its package sets it up: it buffers what it passes on."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.tools import require_tool

# What Debian's own nginx.conf has in `http`, with a site in it.
CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    gzip on;
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""
PLAIN_SITE = """
server {
    listen 8080;
    location / { proxy_pass http://127.0.0.1:8000; }
}
"""
START_SECONDS = 10.0


@contextlib.contextmanager
def running_nginx(folder: Path, service_url: str, site: str = PLAIN_SITE) -> Iterator[str]:
    """Its address. The plain site has nothing but a `proxy_pass`; all else is as nginx has it by default."""
    port = _free_port()
    own_site = site.replace("listen 8080", f"listen 127.0.0.1:{port}").replace("http://127.0.0.1:8000", service_url)
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, site=own_site))
    command = [require_tool("nginx", "/usr/sbin/nginx"), "-e", str(folder / "error.log"), "-c", str(configuration)]
    process = subprocess.Popen(command)
    try:
        _wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert process.poll() is None, "nginx has ended"
            assert time.monotonic() < deadline, "nginx does not listen"
        else:
            return
