"""What is measured in which order, and how one start of the program spends its time."""

import os
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from benchmarks.environment import ROOT
from benchmarks.gpu.lab import Lab
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.stages import ceiling, fp8, layout, memory, parity, parts, previews, sampler, serve, smoke, steps
from benchmarks.gpu.store import GpuResults, Store
from benchmarks.gpu.tasks import Level, Stage, Task
from benchmarks.tables import environment_line
from scheduler.engine import describe

STAGES: dict[str, Stage] = {
    "smoke": Stage("whether all that depends on the device works", smoke.tasks, smoke.table, 160),
    "ceiling": Stage("what the card can do: matrix products, copies, single layers", ceiling.tasks, ceiling.table, 75),
    "steps": Stage("seconds of a UNet call by rows, size and rung of the ladder", steps.tasks, steps.table, 300),
    "parity": Stage("step batching against the pipeline call", parity.tasks, parity.table, 240),
    "sampler": Stage("what a step takes beside the UNet; kernels and gaps", sampler.tasks, sampler.table, 130),
    "previews": Stage("decodes by themselves, and their cost in throughput", previews.tasks, previews.table, 180),
    "parts": Stage("text encoders and VAEs, compiled and recorded", parts.tasks, parts.table, 120),
    "serve": Stage("the whole service under load", serve.tasks, serve.table, 560),
    "memory": Stage("peak memory by rows and size", memory.tasks, memory.table, 60),
    "layout": Stage("from a service's start to ready, from a sharded folder", layout.tasks, layout.table, 200),
    "fp8": Stage("float8: speed, and what it does to the picture", fp8.tasks, fp8.table, 240),
}
"""In the order of the plan: the most telling first."""

LEVELS: tuple[Level, ...] = (0, 1, 2)
WITH_SPEEDUPS = ("parity", "sampler", "previews", "serve")
"""Stages that run with the speed-ups they are told; the others have none, or compare them."""

START_SECONDS = 20
"""Of a stage's process: to load libraries, and to make the model."""
GRACE_SECONDS = 30
"""After its time is up, until it is killed."""


def run_stage(name: str, lab: Lab, store: Store, levels: Sequence[int], seconds: float) -> None:
    """Those of its tasks that are due, as far as time goes. A task that fails is noted, and the next one begins."""
    ends, ground = time.monotonic() + seconds, ""
    for task in due(STAGES[name].tasks(lab.scale), store, levels):
        if task.seconds_after(ground) <= ends - time.monotonic():
            run_task(task, lab, store)
            ground = task.ground


def due(tasks: Sequence[Task], store: Store, levels: Sequence[int]) -> list[Task]:
    """What was begun before and never came back goes last, with all that stands on the same ground."""
    chosen = [task for task in tasks if task.level in levels and store.is_due(task.name)]
    attempts: dict[str, int] = {}
    for task in chosen:
        place = task.ground or task.name
        attempts[place] = max(attempts.get(place, 0), store.attempts(task.name))
    return sorted(chosen, key=lambda task: attempts[task.ground or task.name])


def run_task(task: Task, lab: Lab, store: Store) -> None:
    lab.say(task.name)
    store.begin(task.name)
    began = time.monotonic()
    try:
        points = task.measure(lab)
    except Exception as error:  # noqa: BLE001 - whatever a device or a compiler raises, the other tasks are still of use
        traceback.print_exc()
        store.fail(task.name, time.monotonic() - began, describe(error))
    else:
        store.finish(task.name, time.monotonic() - began, points)
    with suppress(RuntimeError):  # of a device that is lost: the other tasks will tell
        lab.release()


def run_plan(
    scale: Scale,
    store_of: Callable[[str], Store],
    command: Sequence[str],
    budget: float,
    say: Callable[[str], None],
) -> None:
    """Each stage in a process of its own, one level of all stages after the other; ends within `budget` seconds.

    A process that hangs is killed, and what it had stored stays.
    """
    ends = time.monotonic() + budget
    for level in LEVELS:
        for name, stage in STAGES.items():
            left = due(stage.tasks(scale), store_of(name), [level])
            seconds = min(most_seconds(left, stage), ends - time.monotonic() - START_SECONDS - GRACE_SECONDS)
            if left and seconds >= min(task.most_seconds for task in left):
                say(f"{name}, level {level}: {len(left)} tasks, {seconds:.0f} s")
                flags = ("--stage", name, "--level", str(level), "--seconds", f"{seconds:.0f}")
                run_process([*command, *flags], seconds + START_SECONDS + GRACE_SECONDS)


def most_seconds(tasks: Sequence[Task], stage: Stage) -> float:
    """A stage's own, or more where one of its tasks needs it."""
    return max([stage.most_seconds, *(task.most_seconds for task in tasks)])


def run_process(command: Sequence[str], timeout: float) -> None:
    """With all that it starts in a group of its own, of which nothing is left when time is up."""
    process = subprocess.Popen(command, cwd=ROOT, process_group=0)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout)
        return
    for ending in (signal.SIGTERM, signal.SIGKILL):  # a service that drains would outlive its parent
        with suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)


def report(results: GpuResults, names: Sequence[str] = tuple(STAGES)) -> str:
    """Markdown: of each stage its table, for each subject one."""
    parts = [f"## {name}\n\n{text}" for name in names if (text := stage_report(results, name))]
    return "\n\n".join(parts)


def stage_report(results: GpuResults, name: str) -> str:
    """A table for each subject, and the machine; what could not be measured is told with its reason."""
    of_stage = [each for each in results.entries if each.stage == name and (each.points or each.error)]
    parts = []
    for subject in dict.fromkeys(each.subject for each in of_stage):
        entries = [each for each in of_stage if each.subject == subject]
        run = results.runs[entries[-1].run]
        table = STAGES[name].table(partial(results.known, name, subject))
        machine = f"{run.card.line()}; " if run.card else ""
        failed = [f"Not measured: {each.task}: {each.error}." for each in entries if each.error]
        parts += [table, *failed, f"{subject.line()}. {machine}{environment_line(run.environment)}"]
    return "\n\n".join(part for part in parts if part)
