"""`latentcast generate`: one picture without a server, through the same client and worker."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scheduler.client import Client, NotReady
from scheduler.messages import Cancelled, Failed, Finished, ModelInfo, Preview, Report, StepStats
from scheduler.placement.local import LocalWorkers, StartError
from scheduler.request import GenerateParams
from service.errors import ApiError, Problem
from service.schemas import GenerateBody

FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""Image format by the end of a file's name."""


class OfflineError(Exception):
    """There is no picture; the message is one line."""


@dataclass(frozen=True, slots=True)
class Task:
    """What to paint, as fields of `GenerateBody` in text and the flags that they came from, and where to put it."""

    fields: Mapping[str, str]
    flags: Mapping[str, str]
    output: Path
    previews: Path | None

    def check(self) -> None:
        """Finds what is wrong before a model is loaded for it. Raises `OfflineError`."""
        if self.output.suffix.lower() not in FORMATS:
            raise OfflineError(f"--output {self.output}: must end in {', '.join(FORMATS)}")
        if not self.output.parent.is_dir():
            raise OfflineError(f"--output {self.output}: there is no folder {self.output.parent}")
        if self.previews is not None and self.previews.exists() and not self.previews.is_dir():
            raise OfflineError(f"--previews {self.previews}: is not a folder")
        self._parse(None)

    def params(self, model: ModelInfo) -> GenerateParams:
        """Raises `OfflineError` for sizes that the model cannot paint."""
        return self._parse(model).to_params(model)

    def _parse(self, model: ModelInfo | None) -> GenerateBody:
        fields = {"image_format": FORMATS[self.output.suffix.lower()], **self.fields}
        if self.previews is None:
            fields["preview_every"] = "0"
        try:
            return GenerateBody.parse_strings(fields, model)
        except ApiError as error:
            raise OfflineError("; ".join(map(self._explain, error.problems))) from error

    def _explain(self, problem: Problem) -> str:
        field = str(problem.loc[-1])
        if field not in self.flags:
            return f"{field}: {problem.msg}"
        return f"{self.flags[field]} {textwrap.shorten(self.fields[field], 40)}: {problem.msg}"


async def paint(task: Task, client: Client, workers: LocalWorkers, progress: "PaintProgress") -> None:
    """Writes the picture, and its previews if they are wanted. Raises `OfflineError`."""
    client.on_report = progress.on_report
    with progress:
        await workers.start()
        try:
            await workers.ready()
            assert client.info is not None
            params = task.params(client.info)
            progress.begin(params)
            finished = await _follow(task, client, params)
        except (StartError, NotReady) as error:
            raise OfflineError(str(error)) from error
        finally:
            await workers.stop(0)
    _write(task.output, finished.data)
    progress.report(task.output, finished, params)


async def _follow(task: Task, client: Client, params: GenerateParams) -> Finished:
    async for event in client.generate("offline", params):
        match event:
            case Preview() if task.previews is not None:
                _write_preview(task.previews, event)
            case Finished():
                return event
            case Failed(message=message):
                raise OfflineError(message)
            case Cancelled():
                break
    raise OfflineError("the worker gave the picture up")


def _write_preview(folder: Path, preview: Preview) -> None:
    suffix = preview.content_type.removeprefix("image/").replace("jpeg", "jpg")
    _write(folder / f"step-{preview.step:02}.{suffix}", preview.data)


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise OfflineError(f"{path} cannot be written: {error.strerror}") from error


class PaintProgress:
    """What a person sees of it: a line that says what happens, then a bar that counts steps."""

    def __init__(self, console: Console) -> None:
        self._console = console
        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._bar = self._progress.add_task("starting a worker", total=None)

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        self._progress.update(self._bar, description=line)

    def begin(self, params: GenerateParams) -> None:
        self._progress.reset(self._bar, total=params.num_steps, description="painting")

    def on_report(self, worker: str, report: Report) -> None:  # noqa: ARG002 - there is one worker only
        if isinstance(report, StepStats):
            self._progress.advance(self._bar)

    def report(self, output: Path, finished: Finished, params: GenerateParams) -> None:
        size = f"{finished.width}x{finished.height}"
        seconds = finished.timings.get("total", 0.0)
        line = f"{output}: {size}, seed {params.seed}, {seconds:.1f} s"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        if finished.prompt_truncated:
            self._console.print("The prompt is longer than the model reads; its end was left out.", highlight=False)
