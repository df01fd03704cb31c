"""The life of every generation: admitted, followed, watched, cancelled, kept."""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence

import msgspec

from scheduler.client import Client, NotReady
from scheduler.cost import CostModel
from scheduler.messages import (
    Failed,
    Finished,
    ModelInfo,
    Preview,
    Report,
    RequestEvent,
    Started,
)
from scheduler.request import GenerateParams
from service.errors import ApiError, Problem, unavailable
from service.estimates import Estimates
from service.generation import CancelCause, FinalStatus, Generation, Image, now
from service.kept import Kept
from service.metrics import Metrics, resolution_class
from service.records import ErrorRecord, GenerationRecord, ImageRecord
from service.settings import ServeSettings
from service.streams import Mailbox
from service.under_way import UnderWay

NOT_READY_SECONDS = 2.0  # when to come back while no worker takes requests
ABORT_SECONDS = 2.0  # what a worker gets to confirm that it has stopped


class Generations:
    """All generations of this service: those that wait, in a queue of bounded cost, those that run, and those kept."""

    def __init__(self, client: Client, settings: ServeSettings, metrics: Metrics) -> None:
        self.is_draining = False
        self._client = client
        self._max_queue_cost = settings.max_queue_cost
        self._deadline = settings.deadline or None
        self._metrics = metrics
        self._estimates = Estimates(settings.call_batch)
        self.under_way = UnderWay()
        self._kept = Kept(settings.keep_minutes, settings.keep_mib)
        self._following: dict[asyncio.Task[None], Generation] = {}

    def model(self) -> ModelInfo:
        """What requests are checked against. Raises `ApiError` 503 while the first worker is loading it."""
        if self._client.info is None:
            raise unavailable("not_ready", "the model is being loaded; try again soon", NOT_READY_SECONDS)
        return self._client.info

    def admit(self, params: Sequence[GenerateParams], grace: float | None, owner: str | None = None) -> Generation:
        """Sends a new generation, with one request for each of its images, to the workers.

        Raises `ApiError`: 503 where there is no room or no worker, 422 where its deadline is sooner than it can be.
        `grace`: seconds it goes on without a watcher; None: to its end. `owner` as of `Generation`.
        """
        generation = self._new_generation(params, grace, owner)
        try:
            self._check_room(generation.cost)
            self._check_deadline(generation)
            streams = [self._send(image) for image in generation.images]
        except NotReady as error:
            message = "no worker takes requests now; one is being started"
            raise unavailable("not_ready", message, NOT_READY_SECONDS) from error
        self.under_way.add(generation)
        generation.publish("queued", record=self.record(generation))
        task = asyncio.create_task(self._follow(generation, streams))
        self._following[task] = generation
        task.add_done_callback(self._following.pop)
        return generation

    def get(self, generation_id: str) -> Generation | None:
        return self.under_way.get(generation_id) or self._kept.get(generation_id)

    def count_under_way(self, owner: str) -> int:
        """How many generations of that owner are not over, and not about to be."""
        return self.under_way.count(owner)

    def cancel(self, generation: Generation, cause: CancelCause) -> None:
        """Asks for its end at the next step; without effect once it is over."""
        if not generation.is_over and generation.cancel_cause is None:
            generation.cancel_cause = cause
            self.under_way.expect_end(generation)
            self._abort(generation)

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
            if not generation.is_over:
                task.cancel()
                self._end(generation, "cancelled")

    def record(self, generation: Generation) -> GenerationRecord:
        """The generation as clients see it now."""
        params = generation.params
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
            prompt_truncated=generation.prompt_truncated,
            images=_image_records(generation),
            error=generation.error,
            timings=generation.timings,
        )

    def observe_report(self, worker: str, report: Report) -> None:
        """Takes in what a worker tells about itself."""
        self._metrics.observe_report(worker, report)
        self._estimates.observe_report(worker, report)

    def refresh_metrics(self) -> None:
        """Sets the metrics that tell the state of this moment."""
        waiting = self.under_way.waiting
        oldest = next(iter(waiting.values()), None)
        self._metrics.requests_waiting.set(len(waiting))
        self._metrics.requests_running.set(len(self.under_way.running))
        self._metrics.queue_oldest_age.set(now() - oldest.created_at if oldest else 0)
        self._metrics.queue_cost.set(self._queue_cost)
        self._metrics.refresh_workers()

    @property
    def _queue_cost(self) -> float:
        costs = self._client.costs
        return self.under_way.queue_cost(costs, self._client.max_rows) if costs else 0.0

    @property
    def _costs(self) -> CostModel:
        assert self._client.costs is not None
        return self._client.costs

    def _new_generation(self, params: Sequence[GenerateParams], grace: float | None, owner: str | None) -> Generation:
        generation_id = secrets.token_urlsafe(16)
        images = [
            Image(f"{generation_id}/{index}", index, self._bounded(each), self._costs.request_cost(each))
            for index, each in enumerate(params)
        ]
        return Generation(generation_id, images, grace, owner)

    def _bounded(self, params: GenerateParams) -> GenerateParams:
        """The server's deadline holds for all; a request may only have an earlier one."""
        deadlines = [deadline for deadline in (params.deadline, self._deadline) if deadline is not None]
        return msgspec.structs.replace(params, deadline=min(deadlines, default=None))

    def _check_room(self, cost: float) -> None:
        """An empty queue takes any request, however dear."""
        if self.is_draining:
            raise unavailable("draining", "the service is shutting down", NOT_READY_SECONDS)
        queue_cost = self._queue_cost
        excess = queue_cost + cost - self._max_queue_cost
        if queue_cost and excess > 0:
            seconds = self._estimates.seconds_for(excess, self._client.ready_workers())
            raise unavailable("queue_full", "the queue is full; try again later", seconds)

    def _check_deadline(self, generation: Generation) -> None:
        params = generation.params
        if params.deadline is None:
            return
        alone = self._costs.seconds_alone(params)
        if alone > params.deadline:
            message = f"must be later: even with nothing else to do, this takes about {alone:.2g} s"
            raise ApiError(422, "validation", [Problem(loc=["body", "deadline_ms"], msg=message, type="deadline")])
        worker, count = self._client.next_worker(), len(generation.images)
        late_by = self._estimates.seconds_with(worker, params, count) - params.deadline
        if late_by > 0:
            message = "the queue is too long for this to be finished within its deadline; try again later"
            raise unavailable("queue_too_long", message, late_by)

    def _send(self, image: Image) -> AsyncIterator[RequestEvent]:
        worker = self._client.next_worker()
        events = self._client.generate(image.request_id, image.params)
        self._estimates.add(worker, image.request_id, image.params)
        return events

    def _queue_position(self, generation: Generation) -> int | None:
        """Of the first of its images to start."""
        if generation.id not in self.under_way.waiting:
            return None
        positions = [self._estimates.position(image.request_id) for image in generation.images]
        return min((position for position in positions if position is not None), default=None)

    def _eta(self, generation: Generation) -> float | None:
        """Of the last of its images to be finished."""
        times = [self._estimates.seconds_left(image.request_id) for image in generation.images]
        return max((seconds for seconds in times if seconds is not None), default=None)

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

    async def _follow(self, generation: Generation, streams: Sequence[AsyncIterator[RequestEvent]]) -> None:
        followers = map(self._follow_image, itertools.repeat(generation), generation.images, streams)
        await asyncio.gather(*followers)
        if generation.error is not None:
            self._end(generation, "failed")
        elif all(image.finished for image in generation.images):
            self._end(generation, "succeeded")
        else:
            self._end(generation, "cancelled")

    async def _follow_image(self, generation: Generation, image: Image, events: AsyncIterator[RequestEvent]) -> None:
        async for event in events:
            match event:
                case Started():
                    self._start(generation, image)
                case Preview():
                    self._take_preview(generation, image, event)
                case Finished():
                    self.under_way.finish(image, event)
                case Failed(code=code, message=message):
                    self._fail(generation, ErrorRecord(code=code, message=message))
        self._estimates.end(image.request_id)

    def _start(self, generation: Generation, image: Image) -> None:
        """The generation starts with the first of its images."""
        image.progressed_at = now()
        self._estimates.start(image.request_id)
        if generation.started_at is not None:
            return
        self.under_way.start(generation)
        generation.status = "running"
        generation.started_at = image.progressed_at
        self._metrics.queue_wait.observe(generation.started_at - generation.created_at)
        generation.publish("started", record=self.record(generation))

    def _take_preview(self, generation: Generation, image: Image, preview: Preview) -> None:
        moment = now()
        if image.step == 0 and all(each.step == 0 for each in generation.images):
            first = self._metrics.time_to_first_preview.labels(_resolution(generation))
            first.observe(moment - generation.created_at)
        if image.step and image.progressed_at is not None:
            self._metrics.preview_interval.observe(moment - image.progressed_at)
        self.under_way.progress(image, preview.step)
        image.progressed_at = moment
        self._estimates.progress(image.request_id, preview.step)
        generation.publish("preview", preview=preview, image_index=image.index)

    def _fail(self, generation: Generation, error: ErrorRecord) -> None:
        """One image that fails ends all of them; the first one says why."""
        if generation.error is None:
            generation.error = error
            self._abort(generation)

    def _abort(self, generation: Generation) -> None:
        for image in generation.images:
            self._client.abort(image.request_id)

    def _end(self, generation: Generation, status: FinalStatus) -> None:
        self.under_way.remove(generation)
        for image in generation.images:
            self._estimates.end(image.request_id)
        generation.status = status
        generation.finished_at = now()
        if status != "succeeded":
            for image in generation.images:
                image.finished = None  # the pictures of an unfinished set are not kept
        self._count_end(generation)
        self._kept.add(generation)
        generation.publish(status, record=self.record(generation))

    def _count_end(self, generation: Generation) -> None:
        metrics = self._metrics
        match generation.status:
            case "succeeded":
                metrics.requests.labels("ok").inc()
                metrics.images.inc(len(generation.images))
                duration = metrics.request_duration.labels(_resolution(generation))
                duration.observe(now() - generation.created_at)
            case "failed":
                is_late = generation.error is not None and generation.error.code == "deadline"
                metrics.requests.labels("deadline" if is_late else "error").inc()
            case "cancelled":
                metrics.requests.labels("cancelled").inc()
                phase = "running" if generation.started_at else "queued"
                metrics.requests_cancelled.labels(generation.cancel_cause or "shutdown", phase).inc()


def _resolution(generation: Generation) -> str:
    return resolution_class(generation.params.width, generation.params.height)


def _image_records(generation: Generation) -> list[ImageRecord]:
    return [
        ImageRecord(
            url=f"/v1/generations/{generation.id}/images/{image.index}",
            content_type=picture.content_type,
            width=picture.width,
            height=picture.height,
            seed=image.params.seed,
        )
        for image, picture in zip(generation.images, generation.pictures, strict=False)
    ]
