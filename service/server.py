"""Serves the app until a signal, then lets what runs finish."""

import asyncio
import contextlib
import errno
import ipaddress
import logging
import signal
import ssl
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from scheduler.placement.local import LocalWorkers, StartError
from service.app import make_metrics_app
from service.keys import API_KEYS, CLIENT, GENERATIONS, SETTINGS
from service.open_files import raise_open_files
from service.tls import tls_context

BACKLOG = 1024  # connections that the kernel holds for us
HTTP_OPTIONS: dict[str, Any] = {
    "max_line_size": 64 * 1024,  # the longest prompts of `GET /generate`, percent-encoded
    "auto_decompress": False,  # compressed bodies are refused, so nobody should unpack them
}
STREAM_END_SECONDS = 5.0  # for readers to take in the last bytes, when all generations are over
WORKER_EXIT_SECONDS = 5.0

Say = Callable[[str], None]


class ServeError(Exception):
    """The service cannot start, or did not end well; the message is one line."""


class PathLogger(AbstractAccessLogger):
    """Logs requests without their query, which may hold a prompt."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        self.logger.info("%s %s %s %.3f s", request.method, request.rel_url.raw_path, response.status, time)


class Server:
    """One run of the service. `say` gets the lines that people see. Raises `SettingsError`."""

    def __init__(self, app: web.Application, workers: LocalWorkers, say: Say) -> None:
        self._app = app
        self._settings = app[SETTINGS]
        self._tls = tls_context(self._settings)
        self._workers = workers
        self._say = say
        self._stop = asyncio.Event()
        self._abort = asyncio.Event()

    async def run(self) -> None:
        """Returns after a drained stop. Raises `ServeError`."""
        if (warning := raise_open_files()) is not None:
            self._say(warning)
        self._listen_to_signals()
        async with contextlib.AsyncExitStack() as cleanup:
            urls = await self._listen(cleanup)
            cleanup.push_async_callback(self._workers.stop, 0)
            await self._start_workers(urls)
            await self._stop.wait()
            if not await self._unless(self._abort, self._drain()):
                raise ServeError("aborted by a second signal")

    def _listen_to_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        """The first one asks for an end, the second does not ask."""
        (self._abort if self._stop.is_set() else self._stop).set()

    async def _listen(self, cleanup: contextlib.AsyncExitStack) -> list[str]:
        """Listens before the model is loaded: a port that is taken is known at once, and probes get an answer.

        Gives the addresses for clients.
        """
        settings = self._settings
        runner = await self._run(self._app, cleanup)
        urls = [await self._bind(runner, "--port", settings.port)]
        if self._tls is not None:
            urls.append(await self._bind(runner, "--tls-port", settings.tls_port, self._tls))
        if settings.metrics_port is not None:
            metrics_runner = await self._run(make_metrics_app(self._app), cleanup)
            await self._bind(metrics_runner, "--metrics-port", settings.metrics_port)
        if self._app[API_KEYS] is None and not _is_loopback(settings.host):
            self._say(f"warning: whoever reaches {settings.host} may use this service; --api-key-file asks for keys")
        return urls

    async def _run(self, app: web.Application, cleanup: contextlib.AsyncExitStack) -> web.AppRunner:
        runner = web.AppRunner(
            app,
            handler_cancellation=True,
            shutdown_timeout=STREAM_END_SECONDS,
            **HTTP_OPTIONS,
            access_log=logging.getLogger("latentcast.access") if self._settings.access_log else None,
            access_log_class=PathLogger,
        )
        await runner.setup()
        cleanup.push_async_callback(runner.cleanup)
        return runner

    async def _bind(self, runner: web.AppRunner, flag: str, port: int, context: ssl.SSLContext | None = None) -> str:
        host = self._settings.host
        site = web.TCPSite(runner, host, port, backlog=BACKLOG, ssl_context=context)
        try:
            await site.start()
        except OSError as error:
            reason = "it is taken; choose another one" if error.errno == errno.EADDRINUSE else str(error)
            raise ServeError(f"--host {host} {flag} {port}: {reason}") from error
        return site.name

    async def _start_workers(self, urls: Sequence[str]) -> None:
        await self._workers.start()
        try:
            is_ready = await self._unless(self._stop, self._workers.ready())
        except StartError as error:
            raise ServeError(str(error)) from error
        if is_ready and (info := self._app[CLIENT].info):
            self._say(f"{info.name} on {info.device} in {info.dtype}, batching by {info.batching}")
            self._say(f"ready: {' and '.join(urls)}")

    async def _drain(self) -> None:
        self._say("stopping: running generations may finish; stop again to abort")
        await self._app[GENERATIONS].drain(self._settings.drain_timeout)
        await self._workers.stop(WORKER_EXIT_SECONDS)

    async def _unless(self, event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
        """Does the work, unless the event comes first; whether it was done."""
        working, waiting = asyncio.create_task(work), asyncio.create_task(event.wait())
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if working.done():
            await working
            return True
        working.cancel()
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
