"""`latentcast generate --url`: pictures from a service that runs, over its native interface."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Annotated, Literal

from pydantic import Base64Bytes, BaseModel, Field

from service.generation import FINAL
from service.native_client import NativeClient, RefusedError, ServiceEvent
from service.painting import NO_PREVIEWS, PaintError, PictureFiles, Task
from service.progress import PaintProgress
from service.records import CreatedRecord, GenerationRecord

POLL_SECONDS = 1.0  # from one question for the place in the queue to the next

SMALL_PREVIEWS = {"preview_size": "64"}
"""Fields of a request whose previews nobody keeps: the bar needs to be told that they were made, and no more."""


async def paint_remotely(task: Task, client: NativeClient, progress: PaintProgress) -> None:
    """Writes the pictures, and their previews if they are wanted. Raises `PaintError`."""
    progress.say("asking the service")
    with progress:
        async with client:
            created = await _create(task, client, progress)
            try:
                watch = _Watch(task, created, client, progress)
                record = await watch.to_the_end()
                pictures = [await client.fetch(image.url) for image in record.images]
            except BaseException:  # Ctrl-C too: nobody else waits for it
                await client.cancel(created.id)
                raise
    for file, image, picture in zip(watch.files, record.images, pictures, strict=True):
        file.finish(picture)
        progress.report(file.output, (image.width, image.height), image.seed, record.timings.get("total", 0.0))
    if record.prompt_truncated:
        progress.warn_of_long_prompt()


async def _create(task: Task, client: NativeClient, progress: PaintProgress) -> CreatedRecord:
    try:
        return await client.create(task.body(SMALL_PREVIEWS if progress.is_shown else NO_PREVIEWS))
    except RefusedError as error:
        raise task.refusal(error.problems) from error


class _PreviewRecord(BaseModel):
    """What a preview event holds."""

    image_index: Annotated[int, Field(ge=0)]
    step: int
    content_type: Literal["image/jpeg", "image/webp"]
    image: Base64Bytes


class _Watch:
    """One generation as its stream tells it: previews go into files, and steps onto the bar."""

    def __init__(self, task: Task, created: CreatedRecord, client: NativeClient, progress: PaintProgress) -> None:
        count = task.body().get("num_images", 1)
        self.files: Sequence[PictureFiles] = [PictureFiles(task, index, count) for index in range(count)]
        self._steps = [0] * count
        self._created = created
        self._client = client
        self._progress = progress

    async def to_the_end(self) -> GenerationRecord:
        """Raises `PaintError` where there are no pictures then."""
        telling = asyncio.create_task(self._tell_place())
        try:
            async with aclosing(self._client.events(self._created.events_url)) as events:
                async for event in events:
                    if event.name == "started":
                        telling.cancel()
                        self._progress.begin(self._created.total_steps * len(self.files))
                    elif event.name == "preview":
                        self._take(self._client.parse(_PreviewRecord, event.data))
                    elif event.name in FINAL:
                        return self._end(event)
        finally:
            telling.cancel()
        raise AssertionError("the stream ends by itself nowhere")

    def _take(self, preview: _PreviewRecord) -> None:
        index = preview.image_index
        self.files[index].add_preview(preview.step, preview.content_type, preview.image)
        self._progress.advance(preview.step - self._steps[index])
        self._steps[index] = preview.step

    def _end(self, event: ServiceEvent) -> GenerationRecord:
        record = self._client.parse(GenerationRecord, event.data)
        if record.error is not None:
            raise PaintError(record.error.message)
        if record.status != "succeeded":
            raise PaintError("the generation was cancelled")
        return record

    async def _tell_place(self) -> None:
        """While it waits. The stream tells its place only when it is opened."""
        record: GenerationRecord = self._created
        while record.status == "queued" and self._progress.is_shown:
            self._progress.say(_place_of(record))
            await asyncio.sleep(POLL_SECONDS)
            with suppress(PaintError):  # the stream is the one to tell
                record = await self._client.show(record.id)


def _place_of(record: GenerationRecord) -> str:
    """`queued, 3 before it, ready in about 12 s`."""
    place = f", {record.queue_position} before it" if record.queue_position is not None else ""
    time = f", ready in about {record.eta_seconds:.0f} s" if record.eta_seconds is not None else ""
    return f"queued{place}{time}"
