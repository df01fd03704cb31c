"""The engine loop: one plain loop in one thread, which alone touches the scheduler and the engine."""

import queue
import time
from collections.abc import Callable, Sequence

from scheduler.engine import Engine, RequestOutput, StepOutput, describe
from scheduler.messages import Abort, Cancelled, Drain, Failed, Started, StepStats
from scheduler.outbox import FinalPicture, Outgoing, PreviewPicture
from scheduler.request import Request
from scheduler.scheduler import Scheduler


class Stop:
    """Give up everything: nobody listens any more."""


Inbox = queue.SimpleQueue[Request | Abort | Drain | Stop]
Emit = Callable[[Sequence[Outgoing]], None]


class Loop:
    """Takes requests from the inbox, runs them through the engine, and hands what comes out to `emit`.

    `emit` must return at once: the next denoising step waits for it.
    """

    def __init__(self, engine: Engine, scheduler: Scheduler, inbox: Inbox, emit: Emit) -> None:
        self.step_counter = 0
        self._engine = engine
        self._scheduler = scheduler
        self._inbox = inbox
        self._emit = emit
        self._ended: list[Request] = []  # still to be released by the engine
        self._is_draining = False

    @property
    def num_running(self) -> int:
        return self._scheduler.num_running

    def run(self) -> None:
        """Returns when, after a `Drain` or a `Stop`, nothing is left to do."""
        while not (self._is_draining and self._scheduler.is_idle):
            self.step()

    def step(self) -> None:
        """One turn: drain the inbox, schedule a batch, run it; each denoising step emits through `_on_step`."""
        self._drain(wait=True)
        batch = self._scheduler.schedule(time.monotonic())
        if batch:
            self._run(batch)
        self._collect(wait=not batch)
        self._release_ended()

    def _drain(self, *, wait: bool = False) -> None:
        """Takes in all that has arrived; with `wait`, sleeps until there is something to do."""
        timeout = self._scheduler.seconds_to_next(time.monotonic()) if wait else 0.0
        try:
            while True:
                self._take_in(self._inbox.get(timeout=timeout))
                timeout = 0.0
        except queue.Empty:
            pass

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
            self._ended.append(request)
            self._emit([Cancelled(request_id)])

    def _run(self, batch: Sequence[Request]) -> None:
        self._emit([Started(request.id) for request in batch if request.steps_done == 0])
        try:
            self._engine.run(batch, self._on_step)
        except Exception as error:  # noqa: BLE001 - whatever an engine raises must end this batch and no more
            failed = self._scheduler.fail(batch)
            self._ended += failed
            self._emit([Failed(request.id, "engine_error", describe(error)) for request in failed])

    def _on_step(self, output: StepOutput) -> None:
        """After every denoising step, also those inside a pipeline call."""
        self.step_counter += 1
        self._emit([self._stats(output)])
        self._take(output.outputs)
        self._drain()

    def _take(self, outputs: Sequence[RequestOutput]) -> None:
        ended = self._scheduler.postprocess(outputs)
        self._ended += ended
        outgoing = [_outgoing(result) for result in outputs if result.request.is_live or result.request in ended]
        self._emit([item for item in outgoing if item is not None])

    def _collect(self, *, wait: bool) -> None:
        """Takes what the engine made beside the steps."""
        self._take(self._engine.collect(wait=wait))

    def _release_ended(self) -> None:
        while self._ended:
            self._engine.release(self._ended.pop())

    def _stats(self, output: StepOutput) -> StepStats:
        params = [result.request.params for result in output.outputs]
        pixels = params[0].width * params[0].height if params else 0
        return StepStats(
            step_counter=self.step_counter,
            batch_size=len(params),
            num_rows=output.num_rows,
            padded_rows=output.padded_rows,
            max_rows=self._engine.info.max_rows,
            useful_pixels=output.num_rows * pixels,
            padded_pixels=output.padded_rows * pixels,
            duration=output.duration,
            stages=dict(output.stages),
            waiting=self._scheduler.num_waiting,
            running=self._scheduler.num_running,
            previews=sum(result.preview is not None for result in output.outputs),
            previews_coalesced=0,  # known to the outbox, which fills it in
            memory_used=output.memory_used,
            memory_total=output.memory_total,
        )


def _outgoing(result: RequestOutput) -> Outgoing | None:
    """What a step's result for one request has to tell, if anything."""
    request = result.request
    if result.error is not None:
        return Failed(request.id, "engine_error", result.error)
    if result.image is not None:
        return FinalPicture(request, result.image, result.prompt_truncated, denoised_at=time.monotonic())
    if result.preview is not None:
        return PreviewPicture(request, result.preview, result.steps_done)
    return None
