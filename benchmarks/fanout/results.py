"""What the fan-out's benchmarks store: of each stage its newest result, with the machine it was taken on."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from benchmarks.engine.goals import Goal, goals_table
from benchmarks.environment import Environment
from benchmarks.fanout.stages.admission import Admission
from benchmarks.fanout.stages.cost import Peers, Pipeline, Write
from benchmarks.fanout.stages.idle import Idle
from benchmarks.fanout.stages.stalled import Stalled
from benchmarks.fanout.stages.streams import Streams
from benchmarks.tables import environment_line

Result = Write | Pipeline | Streams | Idle | Stalled | Admission | Peers


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One stage; `seconds` is how long it took."""

    stage: str
    seconds: float
    environment: Environment
    result: Result

    @property
    def goals(self) -> Sequence[Goal]:
        return self.result.goals

    def table(self) -> str:
        """Markdown, with the machine that it belongs to."""
        return f"{self.result.table()}\n\n{environment_line(self.environment)}"


class FanoutResults(msgspec.Struct, frozen=True, kw_only=True, tag="fanout"):
    measurements: list[Measurement]


def load(path: Path) -> list[Measurement]:
    """What is stored there; nothing if there is no such file."""
    return msgspec.json.decode(path.read_bytes(), type=FanoutResults).measurements if path.exists() else []


def merged(stored: Iterable[Measurement], new: Iterable[Measurement]) -> list[Measurement]:
    """The new ones in place of those of the same stage, in the order in which each first came."""
    return list({each.stage: each for each in (*stored, *new)}.values())


def report(measurements: Sequence[Measurement]) -> str:
    """Markdown: each stage's own table, and last what was to be reached."""
    stages = [f"## {each.stage}\n\n{each.table()}; {each.seconds:.0f} s" for each in measurements]
    return "\n\n".join([*stages, goals_table(goal for each in measurements for goal in each.goals)])
