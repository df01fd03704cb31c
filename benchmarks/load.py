"""Load over real HTTP: streams pictures from `POST /stream` and times what every client sees.

    python -m benchmarks.load --clients 16 --count 64             # closed loop: 16 clients, each waits for its picture
    python -m benchmarks.load --rate 2.5 --count 150              # open loop: Poisson arrivals, whether served or not

A latency counts from the moment its request was meant to leave, so a late client cannot flatter the service.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from itertools import takewhile
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.client import StreamClient, sleep_until
from benchmarks.environment import describe_environment
from benchmarks.results import LoadResult, Sample, save, summarise
from benchmarks.tables import load_table
from benchmarks.workload import Workload, poisson_arrivals

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send. Exactly one of `clients` and `rate` (requests a second) is set; `seconds` bounds the sending."""

    url: str
    clients: int | None
    rate: float | None
    count: int
    seconds: float
    timeout: float
    workload: Workload


class Run:
    """One run of a plan; `samples` grows as requests end."""

    def __init__(self, client: StreamClient, plan: Plan, progress: Progress) -> None:
        self.samples: list[Sample] = []
        self._client = client
        self._plan = plan
        self._progress = progress
        self._task = progress.add_task("requests", total=plan.count)

    async def execute(self) -> None:
        if self._plan.rate is not None:
            await self._open_loop(poisson_arrivals(self._plan.rate, self._plan.workload.seed))
        else:
            await self._closed_loop(self._plan.clients or 1)

    async def _open_loop(self, arrivals: Iterable[float]) -> None:
        """Each request leaves at its own time, whatever became of those before it."""
        start = self._client.run_started
        due = takewhile(lambda offset: offset < self._plan.seconds, arrivals)
        async with asyncio.TaskGroup() as group:
            for index, offset in zip(range(self._plan.count), due, strict=False):
                await sleep_until(start + offset)
                group.create_task(self._one(index, start + offset))

    async def _closed_loop(self, clients: int) -> None:
        """Each client sends its next request as soon as its last one ended."""
        numbers = iter(range(self._plan.count))
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._one_after_another(numbers))

    async def _one_after_another(self, numbers: Iterator[int]) -> None:
        deadline = self._client.run_started + self._plan.seconds
        for index in numbers:
            if (now := time.perf_counter()) >= deadline:
                return
            await self._one(index, now)

    async def _one(self, index: int, intended: float) -> None:
        self.samples.append(await self._client.request(index, intended))
        self._progress.advance(self._task)


async def run(plan: Plan, *, quiet: bool = False) -> list[Sample]:
    """Carries out the plan; samples come in the order in which requests ended."""
    async with AsyncExitStack() as stack:
        timeout = aiohttp.ClientTimeout(total=plan.timeout)
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, timeout=timeout))
        progress = stack.enter_context(progress_bar(quiet=quiet))
        client = StreamClient(session, plan.url, plan.workload, run_started=time.perf_counter())
        load = Run(client, plan, progress)
        await load.execute()
        return load.samples


def progress_bar(*, quiet: bool = False) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), disable=quiet)


def measure(name: str, plan: Plan, *, quiet: bool = False) -> LoadResult:
    """Runs the plan and sums it up, with the machine it ran on."""
    environment = describe_environment()
    samples = asyncio.run(run(plan, quiet=quiet))
    return LoadResult(
        name=name,
        url=plan.url,
        clients=plan.clients,
        rate=plan.rate,
        workload=plan.workload,
        environment=environment,
        summary=summarise(samples),
        samples=samples,
    )


def size(text: str) -> tuple[int, int]:
    """`WIDTHxHEIGHT` in pixels."""
    width, _, height = text.partition("x")
    return int(width), int(height)


def add_workload_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("workload", "each request draws one value of every list")
    group.add_argument("--steps", type=int, nargs="+", default=[20], metavar="N", help="denoising steps (20)")
    group.add_argument("--guidance", type=float, nargs="+", default=[5.0], metavar="G", help="guidance scales (5)")
    group.add_argument("--size", type=size, nargs="+", default=[], metavar="WxH", help="sizes (the model's own)")
    group.add_argument("--preview-every", type=int, default=5, metavar="N", help="steps between previews (5)")
    group.add_argument("--seed", type=int, default=0, help="draws prompts, options and arrivals (0)")


def workload_of(arguments: argparse.Namespace) -> Workload:
    return Workload(
        steps=tuple(arguments.steps),
        guidance=tuple(arguments.guidance),
        sizes=tuple(arguments.size),
        preview_every=arguments.preview_every,
        seed=arguments.seed,
    )


def make_parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.load", description=__doc__, formatter_class=formatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000/stream", help="POST route (%(default)s)")
    parser.add_argument("--allow-remote", action="store_true", help="load a host other than this one")
    loop = parser.add_mutually_exclusive_group()
    loop.add_argument("--clients", type=int, metavar="N", help="closed loop of N clients (16)")
    loop.add_argument("--rate", type=float, metavar="R", help="open loop of R requests a second")
    parser.add_argument("--count", type=int, default=64, metavar="N", help="send at most N requests (64)")
    parser.add_argument("--seconds", type=float, default=600, metavar="S", help="stop sending after S seconds (600)")
    parser.add_argument(
        "--timeout", type=float, default=300, metavar="S", help="give a request up after S seconds (300)"
    )
    add_workload_options(parser)
    parser.add_argument("--name", default="load", help="name of the result (load)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="store the result, for benchmarks.plot")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no table")
    return parser


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Exits with a line that says what to change if the options make no sense."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if not options.allow_remote and urlsplit(options.url).hostname not in LOOPBACK:
        parser.error(f"{options.url} is not on this machine; add --allow-remote if you may load it")
    for name in ("clients", "rate", "count", "seconds", "timeout"):
        if (value := getattr(options, name)) is not None and value <= 0:
            parser.error(f"--{name} must be more than 0")
    if options.rate is None and options.clients is None:
        options.clients = 16
    return options


def main() -> None:
    options = parse()
    plan = Plan(
        url=options.url,
        clients=options.clients,
        rate=options.rate,
        count=options.count,
        seconds=options.seconds,
        timeout=options.timeout,
        workload=workload_of(options),
    )
    result = measure(options.name, plan, quiet=options.quiet)
    if options.json:
        save(result, options.json)
    if not options.quiet:
        print(load_table(result))
    sys.exit(0 if result.summary.images else 1)


if __name__ == "__main__":
    main()
