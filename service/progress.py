"""What a person sees while pictures are painted: a line that says what happens, then a bar that counts the steps."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class PaintProgress:
    """One bar for all pictures; off a terminal there is only the line about each finished one."""

    def __init__(self, console: Console) -> None:
        self.is_shown = console.is_terminal
        self._console = console
        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not self.is_shown)
        self._bar = self._progress.add_task("", total=None)

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        self._progress.update(self._bar, description=line)

    def begin(self, num_steps: int) -> None:
        """The pictures are painted from now on, in so many steps all together."""
        self._progress.reset(self._bar, total=num_steps, description="painting")

    def advance(self, num_steps: int) -> None:
        """So many more are done."""
        self._progress.advance(self._bar, num_steps)

    def report(self, output: Path, size: tuple[int, int], seed: int, seconds: float) -> None:
        line = f"{output}: {size[0]}x{size[1]}, seed {seed}, {seconds:.1f} s"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def warn_of_long_prompt(self) -> None:
        self._console.print("The prompt is longer than the model reads; its end was left out.", highlight=False)
