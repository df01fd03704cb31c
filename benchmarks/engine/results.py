"""What the engine's benchmarks store: for each stage and dtype its newest result, with the machine it was taken on."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from benchmarks.engine.goals import Goal, goals_table
from benchmarks.engine.stages.curve import Curve
from benchmarks.engine.stages.joiner import Joiner
from benchmarks.engine.stages.mixed import Mixed
from benchmarks.engine.stages.overhead import Overhead
from benchmarks.engine.stages.previews import Previews
from benchmarks.engine.stages.samplers import Samplers
from benchmarks.engine.stages.saturation import Saturation
from benchmarks.environment import Environment
from benchmarks.tables import environment_line

Result = Saturation | Overhead | Previews | Joiner | Mixed | Samplers | Curve


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One stage; `seconds` is how long it took."""

    stage: str
    model: str
    dtype: str
    seconds: float
    environment: Environment
    result: Result

    @property
    def goals(self) -> Sequence[Goal]:
        return self.result.goals

    @property
    def kind(self) -> str:
        """What it is of."""
        return f"{self.model}, {self.dtype}"

    def table(self) -> str:
        """Markdown, with the machine that it belongs to."""
        return f"{self.result.table()}\n\n{self.kind}; {environment_line(self.environment)}"


class EngineResults(msgspec.Struct, frozen=True, kw_only=True, tag="engine"):
    measurements: list[Measurement]


def load(path: Path) -> list[Measurement]:
    """What is stored there; nothing if there is no such file."""
    return msgspec.json.decode(path.read_bytes(), type=EngineResults).measurements if path.exists() else []


def merged(stored: Iterable[Measurement], new: Iterable[Measurement]) -> list[Measurement]:
    """The new ones in place of those of the same stage, model and dtype, in the order in which each first came."""
    newest = {(each.stage, each.model, each.dtype): each for each in (*stored, *new)}
    return list(newest.values())


def goals_by_kind(measurements: Sequence[Measurement]) -> str:
    """Markdown: a table of goals for each model and dtype."""
    return "\n\n".join(
        f"{kind}:\n\n" + goals_table(goal for each in measurements if each.kind == kind for goal in each.goals)
        for kind in dict.fromkeys(each.kind for each in measurements)
    )
