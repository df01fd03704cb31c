"""The life of every generation: admitted, followed, watched, cancelled, kept."""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence

from scheduler.client import Client, NotReady
from scheduler.cost import CostModel
from scheduler.messages import (
    Cancelled,
    Failed,
    Finished,
    ModelInfo,
    Preview,
    Report,
    RequestEvent,
    Started,
    StepStats,
)
from scheduler.request import GenerateParams
from service.errors import unavailable
from service.generation import CancelCause, FinalStatus, Generation, now
from service.kept import Kept
from service.metrics import Metrics, resolution_class
from service.pace import Pace
from service.records import ErrorRecord, GenerationRecord, ImageRecord
from service.settings import ServeSettings
from service.streams import Mailbox

NOT_READY_SECONDS = 2.0  # when to come back while no worker takes requests
ABORT_SECONDS = 2.0  # what a worker gets to confirm that it has stopped


class Generations:
    """All generations of this service: those that wait, in a queue of bounded cost, those that run, and those kept."""

    def __init__(self, client: Client, settings: ServeSettings, metrics: Metrics) -> None:
        self.is_draining = False
        self._client = client
        self._max_queue_cost = settings.max_queue_cost
        self._metrics = metrics
        self._pace = Pace()
        self._waiting: dict[str, Generation] = {}  # in order of arrival
        self._running: dict[str, Generation] = {}
        self._kept = Kept(settings.keep_minutes, settings.keep_mib)
        self._following: dict[asyncio.Task[None], Generation] = {}

    def model(self) -> ModelInfo:
        """What requests are checked against. Raises `ApiError` 503 while the first worker is loading it."""
        if self._client.info is None:
            raise unavailable("not_ready", "the model is being loaded; try again soon", NOT_READY_SECONDS)
        return self._client.info

    def admit(self, params: GenerateParams, grace: float | None) -> Generation:
        """Sends a new generation to a worker. Raises `ApiError` 503 where there is no room or no worker.

        `grace`: seconds it goes on without a watcher; None: to its end.
        """
        cost = CostModel(self.model()).request_cost(params)
        self._check_room(cost)
        generation = Generation(secrets.token_urlsafe(16), params, cost, grace)
        try:
            events = self._client.generate(generation.id, params)
        except NotReady as error:
            message = "no worker takes requests now; one is being started"
            raise unavailable("not_ready", message, NOT_READY_SECONDS) from error
        self._waiting[generation.id] = generation
        generation.publish("queued", record=self.record(generation))
        task = asyncio.create_task(self._follow(generation, events))
        self._following[task] = generation
        task.add_done_callback(self._following.pop)
        return generation

    def get(self, generation_id: str) -> Generation | None:
        live = self._waiting.get(generation_id) or self._running.get(generation_id)
        return live or self._kept.get(generation_id)

    def cancel(self, generation: Generation, cause: CancelCause) -> None:
        """Asks for its end at the next step; without effect once it is over."""
        if not generation.is_over and generation.cancel_cause is None:
            generation.cancel_cause = cause
            self._client.abort(generation.id)

    @contextlib.contextmanager
    def watch(self, generations: Sequence[Generation], after: int | None = None) -> Iterator[Mailbox]:
        """Gives a mailbox with the events numbered above `after`, or with the newest state, and all that follow."""
        dropped = self._metrics.previews_dropped
        ids = {generation.id for generation in generations}
        mailbox = Mailbox(ids, dropped.labels("coalesced"), dropped.labels("gone"))
        for generation in generations:
            self._attach(generation, mailbox, after)
        try:
            yield mailbox
        finally:
            mailbox.close()
            for generation in generations:
                self._detach(generation, mailbox)

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 - what is left after it is cancelled
        """Takes no new generations, and gives the others `timeout` seconds to finish; then cancels them."""
        self.is_draining = True
        if self._following:
            await asyncio.wait(self._following, timeout=timeout)
        await self.abort()

    async def abort(self) -> None:
        """Ends every generation now, whether or not the workers still answer."""
        self.is_draining = True
        for generation in self._following.values():
            self.cancel(generation, "shutdown")
        if self._following:
            await asyncio.wait(self._following, timeout=ABORT_SECONDS)
        for task, generation in list(self._following.items()):
            task.cancel()
            self._end(generation, "cancelled")

    def record(self, generation: Generation) -> GenerationRecord:
        """The generation as clients see it now."""
        params, finished = generation.params, generation.finished
        return GenerationRecord(
            id=generation.id,
            status=generation.status,
            step=generation.step,
            total_steps=params.num_steps,
            queue_position=self._queue_position(generation),
            eta_seconds=self._eta(generation),
            created_at=generation.created_at,
            started_at=generation.started_at,
            finished_at=generation.finished_at,
            seed=params.seed,
            width=params.width,
            height=params.height,
            prompt_truncated=finished is not None and finished.prompt_truncated,
            images=[_image_record(generation, finished)] if finished else [],
            error=generation.error,
            timings=finished.timings if finished else {},
        )

    def observe_report(self, worker: str, report: Report) -> None:
        """Takes in what a worker tells about itself."""
        self._metrics.observe_report(worker, report)
        if isinstance(report, StepStats):
            self._pace.observe(worker, report)

    def refresh_metrics(self) -> None:
        """Sets the metrics that tell the state of this moment."""
        oldest = next(iter(self._waiting.values()), None)
        self._metrics.requests_waiting.set(len(self._waiting))
        self._metrics.requests_running.set(len(self._running))
        self._metrics.queue_oldest_age.set(now() - oldest.created_at if oldest else 0)
        self._metrics.queue_cost.set(self._queue_cost)
        self._metrics.refresh_workers()

    @property
    def _queue_cost(self) -> float:
        """Of all that waits to start, and of all that has started and finds no room in a step.

        Sizes take turns, so each size may have a full batch under way.
        """
        rows = itertools.accumulate(generation.params.num_rows for generation in self._running.values())
        room = self._client.max_rows
        resting = (each.cost_left for each, used in zip(self._running.values(), rows, strict=True) if used > room)
        return sum(generation.cost for generation in self._waiting.values()) + sum(resting)

    def _check_room(self, cost: float) -> None:
        """An empty queue takes any request, however dear."""
        if self.is_draining:
            raise unavailable("draining", "the service is shutting down", NOT_READY_SECONDS)
        queue_cost = self._queue_cost
        excess = queue_cost + cost - self._max_queue_cost
        if queue_cost and excess > 0:
            raise unavailable("queue_full", "the queue is full; try again later", self._seconds_for(excess) or 1.0)

    def _seconds_for(self, cost: float) -> float | None:
        model = self.model()
        return self._pace.seconds_for(cost * model.default_width * model.default_height)

    def _queue_position(self, generation: Generation) -> int | None:
        return list(self._waiting).index(generation.id) if generation.id in self._waiting else None

    def _eta(self, generation: Generation) -> float | None:
        if generation.id in self._waiting:
            ahead = list(self._waiting.values())[: (self._queue_position(generation) or 0) + 1]
            cost = sum(other.cost for other in ahead) + sum(other.cost_left for other in self._running.values())
            return self._seconds_for(cost)
        if generation.id in self._running and self._pace.step_seconds is not None:
            seconds = (generation.params.num_steps - generation.step) * self._pace.step_seconds
            return max(0.0, seconds - (now() - generation.progressed_at))
        return None

    def _attach(self, generation: Generation, mailbox: Mailbox, after: int | None) -> None:
        news = generation.newest_events(self.record(generation)) if after is None else generation.events_after(after)
        for event in news:
            mailbox.put(event)
        generation.watchers.add(mailbox)
        if generation.grace_timer is not None:
            generation.grace_timer.cancel()
            generation.grace_timer = None

    def _detach(self, generation: Generation, mailbox: Mailbox) -> None:
        generation.watchers.discard(mailbox)
        if generation.watchers:
            return
        generation.drop_frames()
        if generation.grace == 0:
            self.cancel(generation, "disconnect")
        elif generation.grace is not None and not generation.is_over:
            loop = asyncio.get_running_loop()
            generation.grace_timer = loop.call_later(generation.grace, self.cancel, generation, "disconnect")

    async def _follow(self, generation: Generation, events: AsyncIterator[RequestEvent]) -> None:
        async for event in events:
            match event:
                case Started():
                    self._start(generation)
                case Preview():
                    self._take_preview(generation, event)
                case Finished():
                    generation.finished = event
                    generation.step = generation.params.num_steps
                    self._end(generation, "succeeded")
                case Failed(code=code, message=message):
                    generation.error = ErrorRecord(code=code, message=message)
                    self._end(generation, "failed")
                case Cancelled():
                    self._end(generation, "cancelled")

    def _start(self, generation: Generation) -> None:
        self._running[generation.id] = self._waiting.pop(generation.id)
        generation.status = "running"
        generation.started_at = generation.progressed_at = now()
        self._metrics.queue_wait.observe(generation.started_at - generation.created_at)
        generation.publish("started", record=self.record(generation))

    def _take_preview(self, generation: Generation, preview: Preview) -> None:
        moment = now()
        if generation.step == 0:
            first = self._metrics.time_to_first_preview.labels(_resolution(generation))
            first.observe(moment - generation.created_at)
        else:
            self._metrics.preview_interval.observe(moment - generation.progressed_at)
        generation.step = preview.step
        generation.progressed_at = moment
        generation.publish("preview", preview=preview)

    def _end(self, generation: Generation, status: FinalStatus) -> None:
        self._waiting.pop(generation.id, None)
        self._running.pop(generation.id, None)
        generation.status = status
        generation.finished_at = now()
        self._count_end(generation)
        self._kept.add(generation)
        generation.publish(status, record=self.record(generation))

    def _count_end(self, generation: Generation) -> None:
        metrics = self._metrics
        match generation.status:
            case "succeeded":
                metrics.requests.labels("ok").inc()
                metrics.images.inc()
                duration = metrics.request_duration.labels(_resolution(generation))
                duration.observe(now() - generation.created_at)
            case "failed":
                metrics.requests.labels("error").inc()
            case "cancelled":
                metrics.requests.labels("cancelled").inc()
                phase = "running" if generation.started_at else "queued"
                metrics.requests_cancelled.labels(generation.cancel_cause or "shutdown", phase).inc()


def _resolution(generation: Generation) -> str:
    return resolution_class(generation.params.width, generation.params.height)


def _image_record(generation: Generation, finished: Finished) -> ImageRecord:
    return ImageRecord(
        url=f"/v1/generations/{generation.id}/images/0",
        content_type=finished.content_type,
        width=finished.width,
        height=finished.height,
        seed=generation.params.seed,
    )
