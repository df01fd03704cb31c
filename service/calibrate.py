"""`latentcast calibrate`: measures how fast the model is by rows and size, and tells what follows from it."""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from scheduler.client import Client
from scheduler.cost import WORTHWHILE
from scheduler.messages import ModelInfo
from scheduler.placement.local import LocalWorkers, StartError
from service.speed import SizeSpeed, Speed, Step, speed_of


class CalibrateError(Exception):
    """There is no result, or no place for it; the message is one line."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files to write; None for none."""

    plot: Path | None
    json: Path | None

    def check(self) -> None:
        """Finds what is wrong before anything is measured. Raises `CalibrateError`."""
        if self.plot is not None and self.plot.suffix.lower() != ".png":
            raise CalibrateError(f"--plot {self.plot}: must end in .png")
        if self.plot is not None and importlib.util.find_spec("matplotlib") is None:
            raise CalibrateError(f"--plot {self.plot}: needs matplotlib, pip install 'latentcast[bench]'")
        for flag, path in (("--plot", self.plot), ("--json", self.json)):
            if path is not None and not path.parent.is_dir():
                raise CalibrateError(f"{flag} {path}: there is no folder {path.parent}")

    def write(self, speed: Speed) -> None:
        """Raises `CalibrateError`."""
        try:
            if self.json is not None:
                self.json.write_bytes(msgspec.json.format(msgspec.json.encode(speed)) + b"\n")
            if self.plot is not None:
                from service.speed_plot import plot  # here, because a service is installed without matplotlib

                plot(speed, self.plot)
        except OSError as error:
            raise CalibrateError(f"{error.filename} cannot be written: {error.strerror}") from error


async def calibrate(client: Client, workers: LocalWorkers, outputs: Outputs, console: Console) -> None:
    """Raises `CalibrateError`."""
    outputs.check()
    speed = speed_of(await _measure(client, workers))
    outputs.write(speed)
    tell(speed, console)


async def _measure(client: Client, workers: LocalWorkers) -> ModelInfo:
    """A worker that loads a model measures it."""
    await workers.start()
    try:
        await workers.ready()
    except StartError as error:
        raise CalibrateError(str(error)) from error
    finally:
        await workers.stop(0)
    assert client.info is not None
    return client.info


def tell(speed: Speed, console: Console) -> None:
    """The curve of each size, and what it means."""
    lines = [f"{speed.model} on {speed.device} in {speed.dtype}"]
    for size in speed.sizes:
        _print_lines(console, [*lines, "", f"{size.width}x{size.height}"])
        console.print(_table(size.measured), highlight=False)
        lines = list(_meaning(size, speed))
    _print_lines(console, lines)


def _print_lines(console: Console, lines: Sequence[str]) -> None:
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _table(steps: Sequence[Step]) -> Table:
    table = Table(box=None)
    memory = ["GB in use"] if any(step.num_bytes for step in steps) else []
    for heading in ("rows", "ms a step", "rows a second", *memory):
        table.add_column(heading, justify="right")
    for step in steps:
        in_use = [f"{step.num_bytes / 1e9:.1f}"] if step.num_bytes else []
        table.add_row(str(step.rows), f"{step.seconds * 1000:.1f}", f"{step.rows_per_second:.1f}", *in_use)
    return table


def _meaning(size: SizeSpeed, speed: Speed) -> Iterator[str]:
    yield f"knee {size.knee}: with so many rows there are {WORTHWHILE:.0%} of the most rows a second"
    yield f"cap {size.max_rows}: {_reason_for_cap(size, speed)}"


def _reason_for_cap(size: SizeSpeed, speed: Speed) -> str:
    if size.max_rows == speed.max_rows:
        return "as many rows as any batch may have (--max-rows, or what fits into memory)"
    if size.max_rows == size.fitting_rows:
        return "a batch of more rows would not fit into the device's memory, with a decode beside it"
    if size.max_rows > size.knee:
        return f"a batch grows on while a step takes at most {speed.max_step_seconds * 1000:g} ms (--step-ms)"
    return "more rows would make a step longer, and hardly pay"
