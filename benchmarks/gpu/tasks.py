"""Stages are made of tasks: each stored by itself, so that a run that is cut off loses one at most."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.gpu.lab import Lab
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.store import Point

Level = int
"""0 for the figures that matter most, 1 for the first reading, 2 for the rest."""

Known = Callable[[str], Sequence[Point]]
"""The points of a stage, by its name, all of one subject."""


@dataclass(frozen=True, slots=True)
class Task:
    """`name` is its own within the stage; it begins only where `seconds` are left, which it needs on a large card.

    Tasks that share something started have it as their `ground`: the first of them needs `ground_seconds` more.
    """

    name: str
    level: Level
    seconds: float
    measure: Callable[[Lab], Sequence[Point]]
    ground: str = ""
    ground_seconds: float = 0.0

    def seconds_after(self, ground: str) -> float:
        """What it needs after a task that had this ground."""
        return self.seconds + (0.0 if self.ground == ground else self.ground_seconds)

    @property
    def most_seconds(self) -> float:
        return self.seconds + self.ground_seconds


class Stage(NamedTuple):
    """What it measures, in one line; its tasks, the most telling first; and its Markdown table.

    `most_seconds` are those of one start of the program, for its tasks of one level.
    """

    about: str
    tasks: Callable[[Scale], Sequence[Task]]
    table: Callable[[Known], str]
    most_seconds: float
