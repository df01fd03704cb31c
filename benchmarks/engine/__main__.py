"""The engine from inside: the real loop, scheduler, engine and encoding threads, without HTTP.

    saturation  images/s of a full batch, against the bare parts' bound and a lone pipeline
    overhead    what a step takes beside the UNet, and where the time of a step goes
    previews    what previews cost, by how often and how large
    joiner      a short request that joins long ones, against one among its own kind
    mixed       six sizes at load: the rare one's latency, the mixture's throughput
    samplers    what each noise sampler takes
    curve       step times as calibrated at start-up, against a careful measurement

Whatever is compared takes turns within one run. A stage makes as many rounds as fit into its time.

    python -m benchmarks.engine                                          # all stages, about 20 minutes on two cores
    python -m benchmarks.engine --stage joiner previews --seconds 30
    python -m benchmarks.engine --report benchmarks/results/engine.json  # tables and plots of what is stored
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.progress import Progress

from benchmarks.engine.pace import Pace
from benchmarks.engine.plots import plot_all
from benchmarks.engine.results import EngineResults, Measurement, Result, goals_by_kind, load, merged
from benchmarks.engine.stages import curve, joiner, mixed, overhead, previews, samplers, saturation
from benchmarks.engine.workbench import Workbench, WorkbenchError, open_workbench
from benchmarks.environment import ROOT, describe_environment
from benchmarks.load import progress_bar
from benchmarks.results import save
from scheduler.engine import LoadError
from scheduler.messages import WorkerConfig
from scheduler.postcard import bundled_model

DTYPES = ("bfloat16", "float32")
DOCS = ROOT / "docs"


class Stage(NamedTuple):
    """How to measure, for how long by default, and in at most how many rounds."""

    measure: Callable[[Workbench, Pace], Result]
    seconds: float
    rounds: int


STAGES = {
    "saturation": Stage(saturation.measure, 150, 5),
    "overhead": Stage(overhead.measure, 60, 5),
    "previews": Stage(previews.measure, 120, 5),
    "joiner": Stage(joiner.measure, 75, 9),
    "mixed": Stage(mixed.measure, 330, 3),
    "samplers": Stage(samplers.measure, 60, 5),
    "curve": Stage(curve.measure, 90, 7),
}


def run_stages(
    names: Sequence[str], config: WorkerConfig, seconds: float | None, progress: Progress
) -> Iterator[Measurement]:
    """Loads the model once, with a calibration of its own, and runs one stage after the other."""
    task = progress.add_task(f"{config.dtype}: loading", total=len(names))

    def say(text: str) -> None:
        progress.update(task, description=f"{config.dtype}: {text}")

    with open_workbench(config) as bench:
        for name in names:
            yield run_stage(name, bench, seconds, say)
            progress.advance(task)


def run_stage(name: str, bench: Workbench, seconds: float | None, say: Callable[[str], None]) -> Measurement:
    stage, environment = STAGES[name], describe_environment()
    say(name)
    began = time.perf_counter()
    pace = Pace(seconds or stage.seconds, stage.rounds, lambda text: say(f"{name}, {text}"))
    result = stage.measure(bench, pace)
    return Measurement(
        stage=name,
        model=bench.engine.info.name,
        dtype=bench.engine.info.dtype,
        seconds=round(time.perf_counter() - began, 1),
        environment=environment,
        result=result,
    )


def report(measurements: Sequence[Measurement]) -> str:
    """Markdown: what was to be reached, then each stage's own table."""
    stages = [f"## {each.stage}\n\n{each.table()}; {each.seconds:.0f} s" for each in measurements]
    return "\n\n".join([goals_by_kind(measurements), *stages])


def make_parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.engine", description=__doc__, formatter_class=formatter)
    parser.add_argument(
        "--stage", nargs="+", choices=STAGES, default=list(STAGES), metavar="NAME", help="which ones (all)"
    )
    parser.add_argument("--dtype", choices=(*DTYPES, "both"), default="bfloat16", help="(%(default)s)")
    parser.add_argument("--model", default=str(bundled_model()), help="diffusers folder or hub id (the bundled one)")
    parser.add_argument("--device", default="cpu", help="(%(default)s)")
    parser.add_argument("--max-rows", type=int, default=32, metavar="N", help="most UNet rows in a step (%(default)s)")
    parser.add_argument("--seconds", type=float, metavar="S", help="time for each stage (60 to 330, by stage)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="store here, in place of the same stages' results")
    parser.add_argument("--report", type=Path, nargs="+", metavar="FILE", help="measure nothing: tables and plots")
    parser.add_argument("--plots", type=Path, default=DOCS, metavar="FOLDER", help="for --report's plots (docs)")
    return parser


def config_of(options: argparse.Namespace, dtype: str, cache: str) -> WorkerConfig:
    return WorkerConfig(
        model=options.model,
        device=options.device,
        dtype=dtype,  # type: ignore[arg-type]  # one of the parser's choices
        max_rows=options.max_rows,
        calibration="fresh",
        cache_dir=cache,
    )


def measure(options: argparse.Namespace) -> list[Measurement]:
    """Runs the stages, and stores each as soon as it is done."""
    dtypes = DTYPES if options.dtype == "both" else (options.dtype,)
    stored = load(options.json) if options.json else []
    done: list[Measurement] = []
    with progress_bar() as progress, tempfile.TemporaryDirectory() as cache:
        for dtype in dtypes:
            for each in run_stages(options.stage, config_of(options, dtype, cache), options.seconds, progress):
                done.append(each)
                stored = merged(stored, [each])
                if options.json:
                    save(EngineResults(measurements=stored), options.json)
    return done


def main() -> None:
    options = make_parser().parse_args()
    if options.report:
        measurements = [each for path in options.report for each in load(path)]
        print(report(measurements))
        print("\n".join(map(str, plot_all(measurements, options.plots))), file=sys.stderr)
        return
    try:
        print(report(measure(options)))
    except (LoadError, WorkbenchError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
