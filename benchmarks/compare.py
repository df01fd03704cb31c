"""Four ways to serve the same model on the same machine, in one run.

    step    --batching step: requests join and leave the batch between denoising steps
    call    --batching call: up to 8 requests that agree in every option share a pipeline call
    one     --batching call --call-batch 1: one request at a time, the plain loop
    naive   a thread and a pipeline call per request, on shared weights (benchmarks.naive)
    naive-1 on request: the same, each call on one core, which suits some dtypes and machines better

Modes take turns, so that whatever else the machine does hits all alike. Each mode is started afresh in each round,
warmed up, asked for single pictures, then loaded by clients in a process of their own.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from rich.progress import Progress

from benchmarks.comparison import Comparison, Round, summarise_rounds
from benchmarks.environment import ROOT, describe_environment
from benchmarks.load import add_workload_options, progress_bar, workload_of
from benchmarks.plot import plot
from benchmarks.results import LoadResult, Summary, save
from benchmarks.servers import MemoryWatch, Server, ServerError, free_port, running_server
from benchmarks.tables import comparison_table
from benchmarks.workload import Workload

SERVICE = ("service", "serve")
MODES: dict[str, tuple[str, ...]] = {
    "step": (*SERVICE, "--batching", "step"),
    "call": (*SERVICE, "--batching", "call"),
    "one": (*SERVICE, "--batching", "call", "--call-batch", "1"),
    "naive": ("benchmarks.naive",),
    "naive-1": ("benchmarks.naive", "--threads", "1"),
}
FOUR_WAYS = ("step", "call", "one", "naive")
LONE_REQUESTS = 3
RESULTS = ROOT / "benchmarks" / "results"


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """How every mode is run: `count` requests a round from `clients` closed-loop clients."""

    dtype: str
    model: str | None
    clients: int
    count: int
    workload: Workload
    logs: Path


def run_round(mode: str, number: int, setup: Setup) -> Round:
    """Starts the server, warms it up, times lone requests, loads it, stops it."""
    port = free_port()
    options = ["--port", str(port), "--dtype", setup.dtype, *(["--model", setup.model] if setup.model else [])]
    with running_server([*MODES[mode], *options], port, setup.logs / f"{mode}-{number}.log") as server:
        run_load(server, setup, clients=setup.clients, count=setup.clients, steps=(2,))
        lone = run_load(server, setup, clients=1, count=LONE_REQUESTS)
        with MemoryWatch(server) as memory:
            load = run_load(server, setup, clients=setup.clients, count=setup.count)
        return Round(
            mode=mode,
            number=number,
            start_seconds=round(server.start_seconds, 3),
            lone_first_preview=lone.first_preview,
            service_mib=round(memory.service_mib, 1),
            worker_mib=round(memory.worker_mib, 1),
            load=load,
        )


def run_load(
    server: Server, setup: Setup, *, clients: int, count: int, steps: tuple[int, ...] | None = None
) -> Summary:
    """Runs `benchmarks.load` as its own process against `server`; `steps` replaces the workload's."""
    workload = setup.workload
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "load.json"
        options: dict[str, Iterable[object]] = {
            "--url": [f"{server.url}/stream"],
            "--clients": [clients],
            "--count": [count],
            "--steps": steps or workload.steps,
            "--guidance": workload.guidance,
            "--size": [f"{width}x{height}" for width, height in workload.sizes],
            "--preview-every": [workload.preview_every],
            "--seed": [workload.seed],
            "--json": [output],
        }
        flags = [text for flag, values in options.items() if values for text in (flag, *map(str, values))]
        subprocess.run([sys.executable, "-m", "benchmarks.load", "--quiet", *flags], cwd=ROOT, check=True)
        return msgspec.json.decode(output.read_bytes(), type=LoadResult).summary


def run_rounds(modes: Sequence[str], rounds: int, setup: Setup, progress: Progress) -> Iterable[Round]:
    """Every second round runs backwards, so that no mode always follows the same other one."""
    task = progress.add_task("rounds", total=rounds * len(modes))
    for number in range(rounds):
        for mode in modes if number % 2 == 0 else reversed(modes):
            progress.update(task, description=f"round {number + 1}: {mode}")
            yield run_round(mode, number, setup)
            progress.advance(task)


def make_parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.compare", description=__doc__, formatter_class=formatter)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=FOUR_WAYS, help="which ones (the first four)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="times that each mode runs (3)")
    parser.add_argument("--clients", type=int, default=16, metavar="N", help="concurrent clients (16)")
    parser.add_argument("--count", type=int, default=48, metavar="N", help="images for each mode in a round (48)")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="(%(default)s)")
    parser.add_argument("--model", help="diffusers folder or hub id (the bundled one)")
    parser.add_argument("--short", action="store_true", help="2 rounds of 16 images: minutes, not a final figure")
    add_workload_options(parser)
    parser.add_argument("--name", default="comparison", help="results are stored under this name (%(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the results (benchmarks/results)")
    return parser


def main() -> None:
    options = make_parser().parse_args()
    if options.short:
        options.rounds, options.count = 2, 16
    environment = describe_environment()
    logs = Path(tempfile.mkdtemp(prefix="latentcast-compare-"))
    setup = Setup(
        dtype=options.dtype,
        model=options.model,
        clients=options.clients,
        count=options.count,
        workload=workload_of(options),
        logs=logs,
    )
    try:
        with progress_bar() as progress:
            rounds = list(run_rounds(options.modes, options.rounds, setup, progress))
    except (ServerError, subprocess.CalledProcessError) as error:
        sys.exit(f"{error}\nThe servers' output is in {logs}")
    result = Comparison(
        name=options.name,
        dtype=setup.dtype,
        clients=setup.clients,
        count=setup.count,
        workload=setup.workload,
        environment=environment,
        figures=summarise_rounds(rounds),
        rounds=rounds,
    )
    stored = options.output / f"{options.name}.json"
    save(result, stored)
    plot(stored, stored.with_suffix(".png"))
    print(comparison_table(result))
    print(f"Stored {stored} and its plot", file=sys.stderr)


if __name__ == "__main__":
    main()
