"""Runs mixed traffic against a service of its own."""

import asyncio
import time
import urllib.request
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import aiohttp
from rich.progress import Progress

from benchmarks.environment import describe_environment
from benchmarks.load import progress_bar
from benchmarks.servers import Server, free_port, running_server
from benchmarks.soak.accounts import Counts, balance, read_metrics
from benchmarks.soak.memory import MemorySeries
from benchmarks.soak.results import Plan, SoakResult
from benchmarks.soak.traffic import Traffic
from benchmarks.soak.visitor import Ending, Visitor

REQUEST_TIMEOUT = 300.0
SIZE_MULTIPLE = 8  # of every model's sides, or a divisor of it
REST_SECONDS = 10.0  # what streams get to be counted as closed


class Soak:
    """Closed loop of clients; `endings` grows as requests end."""

    def __init__(self, visitor: Visitor, traffic: Traffic, progress: Progress, seconds: float) -> None:
        self.endings: list[Ending] = []
        self._visitor = visitor
        self._traffic = traffic
        self._numbers: Iterator[int] = count()
        self._ends_at = visitor.started + seconds
        self._progress = progress
        self._task = progress.add_task("seconds", total=round(seconds))

    async def run(self, clients: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._come_again())

    async def _come_again(self) -> None:
        """One request after the other; a client that was turned away comes back when it was told to."""
        while (now := time.perf_counter()) < self._ends_at:
            ending = await self._visitor.visit(self._traffic.order(next(self._numbers)))
            self.endings.append(ending)
            self._progress.update(self._task, completed=round(now - self._visitor.started))
            await asyncio.sleep(ending.retry_after)


async def send(url: str, plan: Plan, progress: Progress) -> list[Ending]:
    """Carries out the plan; endings come in the order in which requests ended."""
    timeout = aiohttp.ClientTimeout(total=None)  # the visitor has its own
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        visitor = Visitor(session, url, time.perf_counter(), REQUEST_TIMEOUT)
        soak = Soak(visitor, Traffic(size=plan.size, multiple=SIZE_MULTIPLE), progress, plan.seconds)
        await soak.run(plan.clients)
        return soak.endings


def metrics_of(server: Server) -> Counts:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as response:
        return read_metrics(response.read().decode())


def metrics_at_rest(server: Server) -> Counts:
    """Once no stream is open any more: what clients left is counted when the service notices."""
    deadline = time.monotonic() + REST_SECONDS
    while (counts := metrics_of(server))["latentcast_stream_clients", ""] and time.monotonic() < deadline:
        time.sleep(0.1)
    return counts


def run(plan: Plan, log: Path, *, quiet: bool = False) -> SoakResult:
    """Starts a service, loads it, and draws the balance. Raises `ServerError`."""
    environment, port = describe_environment(), free_port()
    with running_server(["service", "serve", "--port", str(port), *plan.options], port, log) as server:
        before = metrics_of(server)
        with MemorySeries(server) as memory, progress_bar(quiet=quiet) as progress:
            began = time.perf_counter()
            endings = asyncio.run(send(server.url, plan, progress))
            lasted = time.perf_counter() - began
        after = metrics_at_rest(server)
    return SoakResult(
        plan=plan,
        seconds=round(lasted, 1),
        environment=environment,
        accounts=balance(endings, before, after),
        endings=endings,
        memory=memory.samples,
    )
