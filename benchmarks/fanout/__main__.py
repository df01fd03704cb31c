"""The fan-out: what it takes to hand previews to thousands of streams.

    write     CPU of writing an event that is encoded, against a bare uvloop protocol
    pipeline  CPU of a preview's whole way through the service: worker socket, base64, JSON, wake-up, write
    streams   thousands of streams with a preview a second each: how long one is under way
    idle      memory of streams that have nothing to say
    stalled   readers that take nothing: what they cost, and whether the others notice
    admission CPU of admitting one more generation, beside ten and beside thousands
    peers     CPU of the same event from aiohttp-sse and from FastAPI with sse-starlette

The service is the real one, in a process and on a core of its own; its worker is played by a process that sends
previews without painting any. Readers are processes too, and niced. What is compared takes turns within one run.

    python -m benchmarks.fanout                                          # all stages, about 6 minutes
    python -m benchmarks.fanout --stage streams --streams 10000 --json out/fanout.json
    python -m benchmarks.fanout --report benchmarks/results/fanout.json  # tables of what is stored
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rich.progress import Progress

from benchmarks.engine.pace import Pace
from benchmarks.environment import describe_environment
from benchmarks.fanout.processes import FanoutError
from benchmarks.fanout.results import FanoutResults, Measurement, Result, load, merged, report
from benchmarks.fanout.stages import admission, cost, idle, stalled, streams
from benchmarks.load import progress_bar
from benchmarks.results import save
from service.open_files import raise_open_files


class Stage(NamedTuple):
    """How to measure, for how long by default, and in at most how many rounds."""

    measure: Callable[[Pace], Result]
    seconds: float
    rounds: int


def stages(num_streams: int) -> dict[str, Stage]:
    return {
        "write": Stage(cost.measure_write, 20, 9),
        "pipeline": Stage(cost.measure_pipeline, 45, 7),
        "streams": Stage(lambda pace: streams.measure(pace, streams=num_streams), 60, 3),
        "idle": Stage(idle.measure, 30, 1),
        "stalled": Stage(stalled.measure, 90, 3),
        "admission": Stage(admission.measure, 15, 5),
        "peers": Stage(cost.measure_peers, 30, 9),
    }


STAGES = tuple(stages(streams.STREAMS))


def run_stages(options: argparse.Namespace, progress: Progress) -> Iterator[Measurement]:
    task = progress.add_task("", total=len(options.stage))
    known = stages(options.streams)
    for name in options.stage:
        yield run_stage(name, known[name], options.seconds, lambda text: progress.update(task, description=text))
        progress.advance(task)


def run_stage(name: str, stage: Stage, seconds: float | None, say: Callable[[str], None]) -> Measurement:
    environment = describe_environment()
    say(name)
    began = time.perf_counter()
    result = stage.measure(Pace(seconds or stage.seconds, stage.rounds, lambda text: say(f"{name}, {text}")))
    return Measurement(
        stage=name, seconds=round(time.perf_counter() - began, 1), environment=environment, result=result
    )


def make_parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.fanout", description=__doc__, formatter_class=formatter)
    parser.add_argument(
        "--stage", nargs="+", choices=STAGES, default=list(STAGES), metavar="NAME", help="which ones (all)"
    )
    parser.add_argument(
        "--streams", type=int, default=streams.STREAMS, metavar="N", help="for the stage of that name (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="time for each stage (15 to 90, by stage)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="store here, in place of the same stages' results")
    parser.add_argument("--report", type=Path, metavar="FILE", help="measure nothing: tell what is stored")
    return parser


def measure(options: argparse.Namespace) -> list[Measurement]:
    """Runs the stages, and stores each as soon as it is done."""
    done: list[Measurement] = []
    with progress_bar() as progress:
        for each in run_stages(options, progress):
            done.append(each)
            if options.json:
                save(FanoutResults(measurements=merged(load(options.json), [each])), options.json)
    return done


def main() -> None:
    options = make_parser().parse_args()
    if options.report:
        print(report(load(options.report)))
        return
    raise_open_files()
    try:
        print(report(measure(options)))
    except FanoutError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
