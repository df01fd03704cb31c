"""`latentcast generate`: pictures without a server, through the same client and worker."""

import asyncio
import textwrap
from collections.abc import Mapping, Sequence
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

    def params(self, model: ModelInfo) -> list[GenerateParams]:
        """One for each picture. Raises `OfflineError` for what the model cannot paint."""
        body = self._parse(model)
        try:
            return body.to_params(model)
        except ApiError as error:
            raise self._refusal(error) from error

    def _parse(self, model: ModelInfo | None) -> GenerateBody:
        fields = {"image_format": FORMATS[self.output.suffix.lower()], **self.fields}
        if self.previews is None:
            fields["preview_every"] = "0"
        try:
            return GenerateBody.parse_strings(fields, model)
        except ApiError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: ApiError) -> OfflineError:
        return OfflineError("; ".join(map(self._explain, error.problems)))

    def _explain(self, problem: Problem) -> str:
        field = str(problem.loc[-1])
        if field not in self.flags:
            return f"{field}: {problem.msg}"
        return f"{self.flags[field]} {textwrap.shorten(self.fields[field], 40)}: {problem.msg}"


async def paint(task: Task, client: Client, workers: LocalWorkers, progress: "PaintProgress") -> None:
    """Writes the pictures, and their previews if they are wanted. Raises `OfflineError`."""
    client.on_report = progress.on_report
    with progress:
        await workers.start()
        try:
            await workers.ready()
            assert client.info is not None
            params = task.params(client.info)
            progress.begin(params)
            paintings = [_Painting(task, index, each, len(params)) for index, each in enumerate(params)]
            finished = await asyncio.gather(*(painting.follow(client) for painting in paintings))
        except (StartError, NotReady) as error:
            raise OfflineError(str(error)) from error
        finally:
            await workers.stop(0)
    for painting, picture in zip(paintings, finished, strict=True):
        _write(painting.output, picture.data)
        progress.report(painting.output, picture, painting.params)
    progress.warn(finished[0])


@dataclass(frozen=True, slots=True)
class _Painting:
    """One picture of a task that has `count` of them."""

    task: Task
    index: int
    params: GenerateParams
    count: int

    @property
    def output(self) -> Path:
        """`out.png`, or of several `out-0.png`."""
        output = self.task.output
        return output if self.count == 1 else output.with_stem(f"{output.stem}-{self.index}")

    async def follow(self, client: Client) -> Finished:
        async for event in client.generate(f"offline/{self.index}", self.params):
            match event:
                case Preview() if self.task.previews is not None:
                    self._write_preview(self.task.previews, event)
                case Finished():
                    return event
                case Failed(message=message):
                    raise OfflineError(message)
                case Cancelled():
                    break
        raise OfflineError("the worker gave the picture up")

    def _write_preview(self, folder: Path, preview: Preview) -> None:
        """`step-01.jpg`, or of several `0-step-01.jpg`."""
        prefix = "" if self.count == 1 else f"{self.index}-"
        suffix = preview.content_type.removeprefix("image/").replace("jpeg", "jpg")
        _write(folder / f"{prefix}step-{preview.step:02}.{suffix}", preview.data)


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise OfflineError(f"{path} cannot be written: {error.strerror}") from error


class PaintProgress:
    """What a person sees of it: a line that says what happens, then a bar that counts the steps of all pictures."""

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

    def begin(self, params: Sequence[GenerateParams]) -> None:
        self._progress.reset(self._bar, total=sum(each.num_steps for each in params), description="painting")

    def on_report(self, worker: str, report: Report) -> None:  # noqa: ARG002 - there is one worker only
        if isinstance(report, StepStats):
            self._progress.advance(self._bar, report.batch_size)

    def report(self, output: Path, finished: Finished, params: GenerateParams) -> None:
        size = f"{finished.width}x{finished.height}"
        seconds = finished.timings.get("total", 0.0)
        line = f"{output}: {size}, seed {params.seed}, {seconds:.1f} s"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def warn(self, finished: Finished) -> None:
        if finished.prompt_truncated:
            self._console.print("The prompt is longer than the model reads; its end was left out.", highlight=False)
