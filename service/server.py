"""Serves the app until a signal, then lets what runs finish."""

import asyncio
import errno
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from scheduler.placement.local import LocalWorkers, StartError
from service.keys import CLIENT, GENERATIONS, SETTINGS

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
    """One run of the service. `say` gets the lines that people see."""

    def __init__(self, app: web.Application, workers: LocalWorkers, say: Say) -> None:
        self._app = app
        self._settings = app[SETTINGS]
        self._workers = workers
        self._say = say
        self._stop = asyncio.Event()
        self._abort = asyncio.Event()

    async def run(self) -> None:
        """Returns after a drained stop. Raises `ServeError`."""
        self._listen_to_signals()
        runner = web.AppRunner(
            self._app,
            handler_cancellation=True,
            shutdown_timeout=STREAM_END_SECONDS,
            **HTTP_OPTIONS,
            access_log=logging.getLogger("latentcast.access") if self._settings.access_log else None,
            access_log_class=PathLogger,
        )
        await runner.setup()
        try:
            url = await self._bind(runner)
            await self._start_workers(url)
            await self._stop.wait()
            if not await self._unless(self._abort, self._drain()):
                raise ServeError("aborted by a second signal")
        finally:
            await self._workers.stop(0)
            await runner.cleanup()

    def _listen_to_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        """The first one asks for an end, the second does not ask."""
        (self._abort if self._stop.is_set() else self._stop).set()

    async def _bind(self, runner: web.AppRunner) -> str:
        """Listens before the model is loaded: a port that is taken is known at once, and probes get an answer."""
        host, port = self._settings.host, self._settings.port
        site = web.TCPSite(runner, host, port, backlog=BACKLOG)
        try:
            await site.start()
        except OSError as error:
            reason = "it is taken; choose another one" if error.errno == errno.EADDRINUSE else str(error)
            raise ServeError(f"--host {host} --port {port}: {reason}") from error
        return site.name

    async def _start_workers(self, url: str) -> None:
        await self._workers.start()
        try:
            is_ready = await self._unless(self._stop, self._workers.ready())
        except StartError as error:
            raise ServeError(str(error)) from error
        if is_ready and (info := self._app[CLIENT].info):
            self._say(f"{info.name} on {info.device} in {info.dtype}, batching by {info.batching}")
            self._say(f"ready: {url}")

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
