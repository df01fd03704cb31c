"""What the GPU's benchmarks store: of each task its newest result, kept as soon as it is there.

A run may be cut off at any moment, so a task is noted when it begins: one that never came back is tried again after all
others. It is given up after more tries than one that failed, because most often it was the clock that ended it.
"""

import csv
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TypeAlias

import msgspec

from benchmarks.environment import Environment, describe_environment
from benchmarks.gpu.card import Card
from benchmarks.results import save

MOST_ATTEMPTS = 2
MOST_CUT_OFF = 4
"""Attempts that never came back."""
FILE = "gpu.json"

Label: TypeAlias = str | int | float
Figures: TypeAlias = dict[str, list[float]]
"""By name, one value for each time it was measured. Seconds unless the name says otherwise."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """Figures, and what they are of."""

    what: dict[str, Label]
    figures: Figures

    def median(self, name: str) -> float:
        return median(self.figures[name])


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on what. `speedups` names those that were on, as JSON; stages that compare them have none."""

    model: str
    dtype: str
    device: str
    speedups: str

    def line(self) -> str:
        extra = f", {self.speedups}" if self.speedups else ""
        return f"{self.model}, {self.dtype}, {self.device}{extra}"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One start of the program: the machine, as it was then."""

    environment: Environment
    card: Card | None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One task; `seconds` is how long it took, None while it has not come to an end. `error`: why it has no points."""

    stage: str
    task: str
    subject: Subject
    run: int
    attempts: int
    seconds: float | None = None
    error: str | None = None
    points: list[Point] = []

    @property
    def is_measured(self) -> bool:
        return self.seconds is not None and self.error is None

    @property
    def lacks_something(self) -> bool:
        """A point has a reason in place of its figures."""
        return any("error" in point.what for point in self.points)

    @property
    def identity(self) -> tuple[str, str, Subject]:
        return self.stage, self.task, self.subject


class GpuResults(msgspec.Struct, frozen=True, kw_only=True, tag="gpu"):
    runs: list[Run] = []
    entries: list[Entry] = []

    def points(self, stage: str, subject: Subject) -> list[Point]:
        chosen = (each for each in self.entries if each.stage == stage and each.subject == subject)
        return [point for each in chosen for point in each.points]

    def known(self, own_stage: str, subject: Subject, stage: str) -> list[Point]:
        """What a stage may know of another: what was measured of the same subject, without speed-ups."""
        plain = msgspec.structs.replace(subject, speedups="")
        return self.points(stage, subject if stage == own_stage else plain)

    def subjects(self, stage: str) -> list[Subject]:
        """Those with points, in the order in which they first came."""
        return list(dict.fromkeys(each.subject for each in self.entries if each.stage == stage and each.points))


class Store:
    """One stage's view of the results in a file, written anew after every change; with a CSV file beside it.

    `output` is a folder for a second copy of both.
    """

    def __init__(
        self, path: Path, stage: str, subject: Subject, card: Card | None = None, output: Path | None = None
    ) -> None:
        self.results = load(path)
        self._stage = stage
        self._subject = subject
        self._path = path
        self._output = output
        self._card = card

    @cached_property
    def _run(self) -> Run:
        """Asked when there is something to store: to find out takes a while."""
        return Run(environment=describe_environment(), card=self._card)

    def attempts(self, task: str) -> int:
        entry = self._find(task)
        return entry.attempts if entry else 0

    def is_due(self, task: str) -> bool:
        """Not measured in full, nor tried in vain too often."""
        entry = self._find(task)
        if entry is None:
            return True
        if entry.is_measured and not entry.lacks_something:
            return False
        return entry.attempts < (MOST_CUT_OFF if entry.seconds is None else MOST_ATTEMPTS)

    def known(self, stage: str) -> list[Point]:
        """Of this subject; of other stages those that were measured without speed-ups."""
        return self.results.known(self._stage, self._subject, stage)

    def begin(self, task: str) -> None:
        """What is known of it stays until there is more."""
        entry = self._find(task)
        self._put(task, self.attempts(task) + 1, points=entry.points if entry else ())

    def finish(self, task: str, seconds: float, points: Sequence[Point]) -> None:
        self._put(task, self.attempts(task), seconds=round(seconds, 2), points=points)

    def fail(self, task: str, seconds: float, error: str) -> None:
        self._put(task, self.attempts(task), seconds=round(seconds, 2), error=error)

    def forget(self, tasks: Iterable[str]) -> None:
        """So that they are measured again."""
        again = {(self._stage, task, self._subject) for task in tasks}
        kept = [each for each in self.results.entries if each.identity not in again]
        self._save(msgspec.structs.replace(self.results, entries=kept))

    def _find(self, task: str) -> Entry | None:
        identity = (self._stage, task, self._subject)
        return next((each for each in self.results.entries if each.identity == identity), None)

    def _put(
        self,
        task: str,
        attempts: int,
        *,
        seconds: float | None = None,
        error: str | None = None,
        points: Sequence[Point] = (),
    ) -> None:
        runs = self.results.runs if self._run in self.results.runs else [*self.results.runs, self._run]
        entry = Entry(
            stage=self._stage,
            task=task,
            subject=self._subject,
            run=runs.index(self._run),
            attempts=attempts,
            seconds=seconds,
            error=error,
            points=list(points),
        )
        newest = {each.identity: each for each in (*self.results.entries, entry)}
        self._save(GpuResults(runs=runs, entries=list(newest.values())))

    def _save(self, results: GpuResults) -> None:
        """Never in place: a run that is killed while it writes leaves the last file as it was."""
        self.results = results
        for path in [self._path, *([self._output / FILE] if self._output else [])]:
            save(results, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
            write_csv(results, path.with_suffix(".csv"))


def load(path: Path) -> GpuResults:
    """What is stored there; nothing if there is no such file."""
    return msgspec.json.decode(path.read_bytes(), type=GpuResults) if path.exists() else GpuResults()


HEADER = ("stage", "task", "model", "dtype", "device", "speedups", "run", "what", "figure", "n", "min", "median", "max")


def write_csv(results: GpuResults, path: Path) -> None:
    """A line for each figure; failures have their reason in place of it."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for entry in results.entries:
            writer.writerows(_lines(entry))


def _lines(entry: Entry) -> list[tuple[Label, ...]]:
    subject = entry.subject
    start = (entry.stage, entry.task, subject.model, subject.dtype, subject.device, subject.speedups, entry.run)
    if entry.error is not None:
        return [(*start, "", entry.error, 0, "", "", "")]
    return [
        (*start, _words(point), name, len(values), min(values), median(values), max(values))
        for point in entry.points
        for name, values in point.figures.items()
        if values
    ]


def _words(point: Point) -> str:
    return "; ".join(f"{key} {value}" for key, value in point.what.items())
