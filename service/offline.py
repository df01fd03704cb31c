"""`latentcast generate`: pictures without a server, through the same client and worker."""

import asyncio
from functools import partial

from scheduler.client import Client, NotReady
from scheduler.messages import Cancelled, Failed, Finished, Preview, Report, StepStats
from scheduler.placement.local import LocalWorkers, StartError
from scheduler.request import GenerateParams
from service.painting import PaintError, PictureFiles, Task
from service.progress import PaintProgress


async def paint(task: Task, client: Client, workers: LocalWorkers, progress: PaintProgress) -> None:
    """Writes the pictures, and their previews if they are wanted. Raises `PaintError`."""
    client.on_report = partial(_show_steps, progress)
    progress.say("starting a worker")
    with progress:
        await workers.start()
        try:
            await workers.ready()
            assert client.info is not None
            params = task.params(client.info)
            progress.begin(sum(each.num_steps for each in params))
            files = [PictureFiles(task, index, len(params)) for index in range(len(params))]
            finished = await asyncio.gather(*(_follow(client, *each) for each in zip(files, params, strict=True)))
        except (StartError, NotReady) as error:
            raise PaintError(str(error)) from error
        finally:
            await workers.stop(0)
    for file, each, picture in zip(files, params, finished, strict=True):
        file.finish(picture.data)
        progress.report(file.output, (picture.width, picture.height), each.seed, picture.timings.get("total", 0.0))
    if finished[0].prompt_truncated:
        progress.warn_of_long_prompt()


def _show_steps(progress: PaintProgress, worker: str, report: Report) -> None:  # noqa: ARG001 - there is one worker only
    """Each step of a batch is one of every picture in it."""
    if isinstance(report, StepStats):
        progress.advance(report.batch_size)


async def _follow(client: Client, files: PictureFiles, params: GenerateParams) -> Finished:
    async for event in client.generate(f"offline/{params.seed}", params):
        match event:
            case Preview():
                files.add_preview(event.step, event.content_type, event.data)
            case Finished():
                return event
            case Failed(message=message):
                raise PaintError(message)
            case Cancelled():
                break
    raise PaintError("the worker gave the picture up")
