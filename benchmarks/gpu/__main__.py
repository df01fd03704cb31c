"""The device path on a GPU, in stages: from the card's ceiling to the whole service under load.

{stages}

SDXL at full size is made with random weights, on the device; nothing is downloaded. Every task is stored as soon as it
is measured, and is not measured again: a second start goes on where the first one stopped.

    python -m benchmarks.gpu --budget 560                       # the plan: as much as fits, the most telling first
    python -m benchmarks.gpu --stage steps --seconds 240        # one stage
    python -m benchmarks.gpu --stage smoke                      # first: that all works
    python -m benchmarks.gpu --stage serve --speedups '{{"compile": "default"}}'
    python -m benchmarks.gpu --report benchmarks/results/gpu.json   # tables and plots, on any machine

On a CPU all stages run small, with Postcard, and their figures mean nothing.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: threads do not spin beside other programs

import msgspec
import torch

from benchmarks.environment import ROOT
from benchmarks.gpu.card import Card, describe_card
from benchmarks.gpu.lab import FULL_SIZE, Lab
from benchmarks.gpu.plan import LEVELS, STAGES, WITH_SPEEDUPS, report, run_plan, run_stage
from benchmarks.gpu.plots import plot_all
from benchmarks.gpu.rungs import RUNGS
from benchmarks.gpu.scale import FULL, SMALL, Scale
from benchmarks.gpu.stages.steps import fastest
from benchmarks.gpu.store import GpuResults, Store, Subject, load
from scheduler.messages import Speedups
from scheduler.postcard import bundled_model
from scheduler.sdxl.device import DTYPES, choose_device, choose_dtype
from scheduler.sdxl.hush import hush_libraries

RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"
DOCS = ROOT / "docs"
WHOLE_LEASE = 1500.0


def make_parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    about = (__doc__ or "").format(stages="\n".join(f"    {name:<9} {stage.about}" for name, stage in STAGES.items()))
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=about, formatter_class=formatter)
    parser.add_argument("--stage", nargs="+", choices=STAGES, metavar="NAME", help="only these (the plan)")
    parser.add_argument(
        "--level", type=int, choices=LEVELS, help="0: what matters most, 1: the first reading, 2: the rest (all)"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="for each stage (as long as it takes)")
    parser.add_argument(
        "--budget", type=float, default=WHOLE_LEASE, metavar="S", help="seconds for the plan (%(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (%(default)s)")
    parser.add_argument("--dtype", choices=("auto", *DTYPES), default="auto", help="(%(default)s)")
    parser.add_argument("--model", help=f"folder in diffusers layout (on a GPU {FULL_SIZE}, else Postcard)")
    parser.add_argument("--small", action="store_true", help="small sizes and short times, as on a CPU")
    parser.add_argument(
        "--speedups",
        type=speedups_of,
        metavar="JSON",
        help=f"for {', '.join(WITH_SPEEDUPS)} (those they had before, else the fastest that steps has measured)",
    )
    parser.add_argument("--again", action="store_true", help="measure what is measured already")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="what is known (%(default)s)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="for a second copy of the results")
    parser.add_argument("--report", type=Path, metavar="FILE", help="measure nothing: tables and plots")
    parser.add_argument("--plots", type=Path, default=DOCS, metavar="FOLDER", help="for --report's plots (docs)")
    return parser


def speedups_of(text: str) -> Speedups:
    try:
        return msgspec.json.decode(text, type=Speedups)
    except msgspec.DecodeError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def changed(speedups: Speedups) -> str:
    """Those that differ from the default, as JSON; empty for none."""
    default = msgspec.structs.asdict(Speedups())
    wanted = {name: value for name, value in msgspec.structs.asdict(speedups).items() if value != default[name]}
    return json.dumps(wanted) if wanted else ""


def speedups_before(results: GpuResults, plain: Subject) -> Speedups | None:
    """The first that anything was measured with, of what is otherwise the same."""
    for each in results.entries:
        subject = each.subject
        if subject.speedups and each.points and msgspec.structs.replace(subject, speedups="") == plain:
            return speedups_of(subject.speedups)
    return None


class Session:
    """The command line's options, made sense of."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = choose_device(options.device)
        self.dtype = str(choose_dtype(options.dtype, self.device)).removeprefix("torch.")
        is_cuda = self.device.type == "cuda"
        self.model: str = options.model or (FULL_SIZE if is_cuda else str(bundled_model()))
        self.scale: Scale = FULL if is_cuda and not options.small else SMALL

    def speedups(self, stage: str) -> Speedups:
        """As told. Else those that such stages had first, so that their figures belong together; else the fastest."""
        if stage not in WITH_SPEEDUPS:
            return Speedups()
        told: Speedups | None = self.options.speedups
        if told is not None:
            return told
        results, plain = load(self.options.results), self.subject("")
        if (before := speedups_before(results, plain)) is not None:
            return before
        rung = fastest(results.points("steps", plain), self.scale.first[0])
        return RUNGS[rung].speedups if rung else Speedups()

    def subject(self, speedups: str) -> Subject:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return Subject(
            model="postcard" if Path(self.model) == bundled_model() else Path(self.model).name,
            dtype=self.dtype,
            device=name if self.scale is FULL else f"{name}, small",
            speedups=speedups,
        )

    @cached_property
    def card(self) -> Card | None:
        return describe_card(self.device)

    def store(self, stage: str) -> Store:
        subject = self.subject(changed(self.speedups(stage)))
        return Store(self.options.results, stage, subject, self.card, self.options.output)

    def forget_all(self) -> None:
        for name, stage in STAGES.items():
            self.store(name).forget([task.name for task in stage.tasks(self.scale)])

    def run(self, stage: str, say: Callable[[str], None]) -> None:
        store, speedups, options = self.store(stage), self.speedups(stage), self.options
        levels = LEVELS if options.level is None else (options.level,)
        tasks = STAGES[stage].tasks(self.scale)
        if options.again:
            store.forget([task.name for task in tasks if task.level in levels])
        lab = Lab(self.model, self.device, self.dtype, self.scale, speedups, store.known, say)
        try:
            run_stage(stage, lab, store, levels, options.seconds or float("inf"))
        finally:
            lab.close()


def say(where: str, text: str) -> None:
    print(f"[{where}] {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = make_parser().parse_args(given)
    if options.report:
        results = load(options.report)
        print(report(results))
        print(*plot_all(results, options.plots), sep="\n", file=sys.stderr)
        return
    hush_libraries()
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    session = Session(options)
    if options.stage is None:
        if options.again:
            session.forget_all()
        command = [sys.executable, "-m", "benchmarks.gpu", *(flag for flag in given if flag != "--again")]
        run_plan(session.scale, session.store, command, options.budget, partial(say, "plan"))
    for stage in options.stage or ():
        session.run(stage, partial(say, stage))
    print(report(load(options.results), options.stage or tuple(STAGES)))


if __name__ == "__main__":
    main()
