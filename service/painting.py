"""What `latentcast generate` was asked for, and the files that it writes."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from scheduler.messages import ModelInfo
from scheduler.request import GenerateParams
from service.errors import ApiError, Problem
from service.schemas import GenerateBody

FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""Image format by the end of a file's name."""

NO_PREVIEWS = {"preview_every": "0"}


class PaintError(Exception):
    """There is no picture; the message is one line."""


@dataclass(frozen=True, slots=True)
class Task:
    """What to paint, as fields of `GenerateBody` in text and the flags that they came from, and where to put it."""

    fields: Mapping[str, str]
    flags: Mapping[str, str]
    output: Path
    previews: Path | None = None
    gif: Path | None = None

    @property
    def wants_previews(self) -> bool:
        return self.previews is not None or self.gif is not None

    def check(self) -> None:
        """Finds what is wrong before a model is loaded for it. Raises `PaintError`."""
        _check_file("--output", self.output, FORMATS)
        if self.gif is not None:
            _check_file("--gif", self.gif, [".gif"])
        if self.previews is not None and self.previews.exists() and not self.previews.is_dir():
            raise PaintError(f"--previews {self.previews}: is not a folder")
        if self._parse(None).preview_every == 0 and self.gif is not None:
            raise PaintError("--preview-every 0: --gif is made of previews")

    def params(self, model: ModelInfo) -> list[GenerateParams]:
        """One for each picture. Raises `PaintError` for what the model cannot paint."""
        body = self._parse(model)
        try:
            params = body.to_params(model)
        except ApiError as error:
            raise self.refusal(error.problems) from error
        return [_with_every_preview(each) for each in params] if self.wants_previews else params

    def body(self, unseen: Mapping[str, str] = NO_PREVIEWS) -> dict[str, Any]:
        """What to send to a service; `unseen` are fields for where nobody keeps the previews. Raises `PaintError`."""
        return self._parse(None, unseen).model_dump(mode="json", exclude_unset=True)

    def refusal(self, problems: Sequence[Problem]) -> PaintError:
        """All that is wrong, by the flags that it came from."""
        return PaintError("; ".join(map(self._explain, problems)))

    def _parse(self, model: ModelInfo | None, unseen: Mapping[str, str] = NO_PREVIEWS) -> GenerateBody:
        fields = {"image_format": FORMATS[self.output.suffix.lower()], **self.fields}
        if not self.wants_previews:
            fields |= unseen
        try:
            return GenerateBody.parse_strings(fields, model)
        except ApiError as error:
            raise self.refusal(error.problems) from error

    def _explain(self, problem: Problem) -> str:
        field = str(problem.loc[-1]) if problem.loc else ""
        if field not in self.flags or field not in self.fields:
            return f"{field}: {problem.msg}" if field else problem.msg
        return f"{self.flags[field]} {textwrap.shorten(self.fields[field], 40)}: {problem.msg}"


class PictureFiles:
    """The files of one picture of a task that has `count` of them."""

    def __init__(self, task: Task, index: int, count: int) -> None:
        self._number = None if count == 1 else index
        self._previews = task.previews
        self._gif = self._numbered(task.gif) if task.gif is not None else None
        self._forming: list[bytes] = []
        self.output = self._numbered(task.output)

    def add_preview(self, step: int, content_type: str, data: bytes) -> None:
        """Writes `step-01.jpg`, or of several pictures `0-step-01.jpg`. Raises `PaintError`."""
        if self._gif is not None:
            self._forming.append(data)
        if self._previews is not None:
            prefix = "" if self._number is None else f"{self._number}-"
            suffix = content_type.removeprefix("image/").replace("jpeg", "jpg")
            _write(self._previews / f"{prefix}step-{step:02}.{suffix}", data)

    def finish(self, data: bytes) -> None:
        """Writes the picture, and how it formed if that is wanted. Raises `PaintError`."""
        _write(self.output, data)
        if self._gif is not None:
            from service.animation import animate  # here, because a service needs no Pillow

            _write(self._gif, animate([*self._forming, data]))

    def _numbered(self, path: Path) -> Path:
        """`out.png`, or of several `out-0.png`."""
        return path if self._number is None else path.with_stem(f"{path.stem}-{self._number}")


def _with_every_preview(params: GenerateParams) -> GenerateParams:
    """None gives way to a newer one: they go into files, and nobody waits for them."""
    steps = tuple(index + 1 for index in range(params.num_steps) if params.preview_due(index))
    return msgspec.structs.replace(params, preview_steps=steps)


def _check_file(flag: str, path: Path, endings: Sequence[str] | Mapping[str, str]) -> None:
    if path.suffix.lower() not in endings:
        raise PaintError(f"{flag} {path}: must end in {', '.join(endings)}")
    if not path.parent.is_dir():
        raise PaintError(f"{flag} {path}: there is no folder {path.parent}")


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise PaintError(f"{path} cannot be written: {error.strerror}") from error
