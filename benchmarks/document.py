"""Puts stored results into a document, so that no figure in it is typed by hand.

    python -m benchmarks.document docs/engine.md benchmarks/results/*.json

What stands between `<!-- NAME -->` and `<!-- end -->` is replaced by the table of that name, where the results have
one; their plots are drawn beside the document.
"""

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.comparison import Comparison
from benchmarks.core import Policy, StepCost, policy_table, step_cost_table
from benchmarks.engine.goals import goals_table
from benchmarks.engine.plots import plot_all
from benchmarks.engine.results import EngineResults, Measurement, goals_by_kind
from benchmarks.fanout import plots as fanout_plots
from benchmarks.fanout.results import FanoutResults
from benchmarks.gpu import plots as gpu_plots
from benchmarks.gpu.plan import STAGES, stage_report
from benchmarks.gpu.store import GpuResults
from benchmarks.plot import plot
from benchmarks.results import LoadResult
from benchmarks.soak.results import SoakResult, soak_table
from benchmarks.tables import comparison_table, load_table

Stored = EngineResults | FanoutResults | GpuResults | SoakResult | StepCost | Policy | Comparison | LoadResult

BLOCK = re.compile(r"(<!-- (?P<name>[\w -]+) -->\n)(.*?\n)??(<!-- end -->)", re.DOTALL)


def read(path: Path) -> Stored:
    result: Stored = msgspec.json.decode(path.read_bytes(), type=Stored)
    return result


def blocks(results: Iterable[Stored]) -> dict[str, str]:
    """Markdown by name: `goals` and the engine's stages, `fanout` and `fanout` with `plot` or a stage's name, `gpu`
    with one, `mixed traffic`, `step_cost`, `policy`, and others by name.
    """
    named: dict[str, str] = {}
    for result in results:
        match result:
            case EngineResults():
                named |= engine_blocks(result.measurements)
            case FanoutResults():
                named |= fanout_blocks(result)
            case GpuResults():
                named |= gpu_blocks(result)
            case SoakResult():
                named["mixed traffic"] = soak_table(result)
            case StepCost():
                named["step_cost"] = step_cost_table(result)
            case Policy():
                named["policy"] = policy_table(result)
            case Comparison():
                named[result.name] = comparison_table(result)
            case LoadResult():
                named[result.name] = load_table(result)
    return named


def engine_blocks(measurements: Sequence[Measurement]) -> dict[str, str]:
    """Of each stage a table for each dtype, and all goals."""
    stages: dict[str, list[str]] = {}
    for each in measurements:
        stages.setdefault(each.stage, []).append(each.table())
    return {"goals": goals_by_kind(measurements), **{name: "\n\n".join(tables) for name, tables in stages.items()}}


def fanout_blocks(results: FanoutResults) -> dict[str, str]:
    """All goals, of each stage a table, and the plot."""
    goals = goals_table(goal for each in results.measurements for goal in each.goals)
    tables = {f"fanout {each.stage}": each.table() for each in results.measurements}
    return {"fanout": goals, "fanout plot": fanout_plots.reference(results.measurements), **tables}


def gpu_blocks(results: GpuResults) -> dict[str, str]:
    """`gpu` with a stage's name, for those that were measured."""
    return {f"gpu {name}": text for name in STAGES if (text := stage_report(results, name))}


def fill(text: str, named: Mapping[str, str]) -> str:
    """The document with its blocks replaced; those that have no result stay as they are."""

    def replace(match: re.Match[str]) -> str:
        block = named.get(match["name"])
        return match[0] if block is None else f"{match[1]}{block}\n{match[4]}"

    return BLOCK.sub(replace, text)


def draw(results: Mapping[Path, Stored], folder: Path, text: str) -> list[Path]:
    """Plots of the engine's stages, of a GPU and of mixed traffic, and of the fan-out where the document's text shows
    it.
    """
    measurements = [
        each for result in results.values() if isinstance(result, EngineResults) for each in result.measurements
    ]
    traffic = [path for path, result in results.items() if isinstance(result, SoakResult)]
    for path in traffic:
        plot(path, folder / "engine-traffic.png")
    fanout = [each for result in results.values() if isinstance(result, FanoutResults) for each in result.measurements]
    fanout_drawn = fanout_plots.plot_all(fanout, folder) if fanout_plots.FILE in text else []
    gpu = [
        path
        for result in results.values()
        if isinstance(result, GpuResults)
        for path in gpu_plots.plot_all(result, folder)
    ]
    drawn = [*plot_all(measurements, folder), *fanout_drawn, *gpu]
    return [*drawn, *([folder / "engine-traffic.png"] if traffic else [])]


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.document", description=__doc__, formatter_class=formatter)
    parser.add_argument("document", type=Path, help="Markdown file with marked blocks")
    parser.add_argument("results", type=Path, nargs="+", help="what --json stored")
    options = parser.parse_args()
    results = {path: read(path) for path in options.results}
    text = fill(options.document.read_text(), blocks(results.values()))
    options.document.write_text(text)
    print(*draw(results, options.document.parent, text), sep="\n")


if __name__ == "__main__":
    main()
