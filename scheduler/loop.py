"""The engine loop: one plain loop in one thread, which alone touches the scheduler and the engine."""

import queue
import time
from collections.abc import Callable, Iterable, Sequence

from scheduler.engine import DeviceLost, Engine, RequestOutput, StepOutput, describe
from scheduler.messages import Abort, Cancelled, Drain, Failed, Started, StepStats
from scheduler.outbox import FinalPicture, Outgoing, PreviewPicture
from scheduler.request import Request, Status
from scheduler.scheduler import Scheduler

NUM_EXPECTED = 8  # requests that wait and that the engine may prepare for
COLLECT_SECONDS = 0.002  # how soon a picture is noticed that was made while the loop has nothing else to do


class Stop:
    """Give up everything: nobody listens any more."""


Inbox = queue.SimpleQueue[Request | Abort | Drain | Stop]
Emit = Callable[[Sequence[Outgoing]], None]


class Loop:
    """Takes requests from the inbox, runs them through the engine, and hands what comes out to `emit`.

    `emit` must return at once: the next denoising step waits for it. It gets one list a step, and one more when
    requests start.
    """

    def __init__(self, engine: Engine, scheduler: Scheduler, inbox: Inbox, emit: Emit) -> None:
        self.step_counter = 0
        self._engine = engine
        self._scheduler = scheduler
        self._inbox = inbox
        self._emit = emit
        self._news: list[Outgoing] = []  # still to be emitted
        self._left: list[Request] = []  # still to be released by the engine
        self._num_previews = 0  # since the last step
        self._is_draining = False

    @property
    def num_running(self) -> int:
        return self._scheduler.num_running

    def run(self) -> None:
        """Returns when, after a `Drain` or a `Stop`, nothing is left to do."""
        while not (self._is_draining and self._scheduler.is_idle):
            self.step()

    def step(self) -> None:
        """One turn: drain the inbox, schedule a batch if it is time for one, run it, emit what came of it."""
        self._drain(self._seconds_to_sleep())
        batch = self._schedule()
        if batch:
            self._run(batch)
        self._take(self._collect())
        self._emit_news()
        self._release()

    def _seconds_to_sleep(self) -> float | None:
        """Until there is something to do, if nothing arrives; None for ever."""
        seconds = self._scheduler.seconds_to_next(time.monotonic())
        if seconds is not None:
            seconds = max(seconds, self._engine.seconds_to_spare())
        if not (self._scheduler.num_running or self._scheduler.num_decoding):
            return seconds
        return COLLECT_SECONDS if seconds is None else min(seconds, COLLECT_SECONDS)

    def _drain(self, timeout: float | None) -> None:
        """Takes in all that is there, or else what comes first in `timeout` seconds; then ends what is out of time."""
        try:
            while True:
                self._take_in(self._inbox.get(timeout=timeout))
                timeout = 0.0
        except queue.Empty:
            pass
        for request in self._scheduler.expire(time.monotonic()):
            self._leave(request, Failed(request.id, "deadline", _too_late(request)))

    def _take_in(self, item: Request | Abort | Drain | Stop) -> None:
        match item:
            case Request():
                self._scheduler.add(item)
            case Abort(request_id):
                self._abort(request_id)
            case Drain():
                self._is_draining = True
            case Stop():
                self._is_draining = True
                for request in self._scheduler.live_requests:
                    self._abort(request.id)

    def _abort(self, request_id: str) -> None:
        request = self._scheduler.abort(request_id)
        if request is not None:
            self._leave(request, Cancelled(request_id))

    def _schedule(self) -> Sequence[Request]:
        """Empty while the device has enough to do: who arrives until then is in the batch."""
        if self._engine.seconds_to_spare():
            return []
        now = time.monotonic()
        batch = self._scheduler.schedule(now)
        self._news += [Started(request.id) for request in batch if request.started_at == now]
        return batch

    def _run(self, batch: Sequence[Request]) -> None:
        pixels = batch[0].params.pixels
        self._emit_news()  # a step may take long
        try:
            self._engine.expect(self._scheduler.next_waiting(NUM_EXPECTED))
            self._engine.run(batch, lambda output: self._on_step(output, pixels))
        except DeviceLost:
            raise  # the worker ends, and another one goes on
        except Exception as error:  # noqa: BLE001 - whatever an engine raises must end the request at fault and no more
            self._find_fault(batch, describe(error))

    def _find_fault(self, batch: Sequence[Request], error: str) -> None:
        """A request that raises alone is at fault; of a larger batch, each starts afresh and alone."""
        if len(batch) > 1:
            self._left += self._scheduler.isolate(batch)
        elif self._scheduler.fail(batch[0]):
            self._leave(batch[0], Failed(batch[0].id, "engine_error", error))

    def _on_step(self, output: StepOutput, pixels: int) -> None:
        """After every denoising step, also those inside a pipeline call."""
        self.step_counter += 1
        self._take(output.outputs)
        self._news.append(self._stats(output, pixels))
        if output.fitting_rows is not None:
            self._scheduler.limit_rows(pixels, output.fitting_rows)
        self._take(self._collect())  # a pipeline call is long: pictures come out meanwhile
        self._drain(timeout=0.0)
        self._emit_news()

    def _collect(self) -> Sequence[RequestOutput]:
        """What the engine made beside the steps; where it cannot tell, those that depend on it fail."""
        try:
            return self._engine.collect(wait=False)
        except Exception as error:  # noqa: BLE001 - as in `_run`
            decoding = [r for r in self._scheduler.live_requests if r.status is Status.DECODING]
            return [RequestOutput(request, request.steps_done, error=describe(error)) for request in decoding]

    def _take(self, outputs: Iterable[RequestOutput]) -> None:
        for output in self._scheduler.postprocess(outputs):
            self._num_previews += output.preview is not None
            self._news.append(_outgoing(output))
            if not output.request.is_live:
                self._left.append(output.request)

    def _leave(self, request: Request, ending: Failed | Cancelled) -> None:
        self._left.append(request)
        self._news.append(ending)

    def _emit_news(self) -> None:
        if self._news:
            self._emit(self._news)
            self._news = []

    def _release(self) -> None:
        while self._left:
            self._engine.release(self._left.pop())

    def _stats(self, output: StepOutput, pixels: int) -> StepStats:
        previews, self._num_previews = self._num_previews, 0
        return StepStats(
            step_counter=self.step_counter,
            batch_size=len(output.outputs),
            num_rows=output.num_rows,
            padded_rows=output.padded_rows,
            max_rows=self._scheduler.max_rows(pixels),
            useful_pixels=output.num_rows * pixels,
            padded_pixels=output.padded_rows * pixels,
            duration=output.duration,
            stages=dict(output.stages),
            waiting=self._scheduler.num_waiting,
            running=self._scheduler.num_running,
            previews=previews,
            previews_coalesced=0,  # known to the outbox, which fills it in
            memory_used=output.memory_used,
            memory_total=output.memory_total,
            out_of_memory=output.out_of_memory,
            prompt_hits=output.prompt_hits,
            prompt_misses=output.prompt_misses,
        )


def _outgoing(output: RequestOutput) -> Outgoing:
    request = output.request
    if output.error is not None:
        return Failed(request.id, output.code, output.error)
    if output.image is not None:
        return FinalPicture(request, output.image, output.prompt_truncated, denoised_at=time.monotonic())
    assert output.preview is not None
    return PreviewPicture(request, output.preview, output.steps_done)


def _too_late(request: Request) -> str:
    return (
        f"The image could not be finished within {request.params.deadline:g} s. "
        "Allow more time, or ask for fewer steps or a smaller image."
    )
