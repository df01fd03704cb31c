"""A deterministic engine without a model, for tests and for loading the front end."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from scheduler.engine import OnStep, Pixels, RequestOutput, StepOutput
from scheduler.messages import ModelInfo, StepTime, WorkerConfig
from scheduler.request import SAMPLERS, GenerateParams, Request, Status, batch_key, call_key

FAILING_PROMPT = "fail this request"
"""A request with this prompt fails at its first step, alone."""

RAISING_PROMPT = "raise in this batch"
"""A batch with a request of this prompt makes the engine raise."""

MAX_WORDS = 77
"""Of a prompt; the rest is cut, as a text encoder cuts tokens."""

GATE_TIMEOUT = 30.0
SHORTEST_STEP = 1e-4
GREY = 128


def colour_of(seed: int) -> tuple[int, int, int]:
    """The RGB colour of the picture that a seed gives; different seeds below 2^24 have different colours."""
    mixed = (seed * 0x9E3779B1 + 0x5BD1E9) & 0xFFFFFF
    return mixed >> 16, (mixed >> 8) & 0xFF, mixed & 0xFF


def picture(params: GenerateParams, steps_done: int) -> Pixels:
    """[height, width, 3] uint8 of one colour, which goes from grey to the seed's own as the steps are done."""
    colour = np.array(colour_of(params.seed), dtype=np.float64)
    blended = GREY + (colour - GREY) * (steps_done / params.num_steps)
    pixels = np.empty((params.height, params.width, 3), dtype=np.uint8)
    pixels[:] = blended.round().astype(np.uint8)
    return pixels


class FakeEngine:
    """Takes `config.fake_step_seconds` for a step of any size.

    With a `gate`, every step first takes one permit of it, so that a test decides when steps happen. With a `darkroom`,
    previews and pictures are made beside the steps, in order, and each takes one permit of it. A batch of more than
    `fitting_rows` rows does not fit into memory: it is halved until it does. `known` holds the requests that were run
    and not released, with their completed steps.
    """

    def __init__(
        self,
        config: WorkerConfig,
        gate: threading.Semaphore | None = None,
        darkroom: threading.Semaphore | None = None,
        fitting_rows: int | None = None,
    ) -> None:
        self.known: dict[Request, int] = {}
        self.info = ModelInfo(
            name="fake",
            default_width=256,
            default_height=256,
            size_multiple=8,
            min_size=64,
            max_size=1024,
            device="cpu",
            dtype="float32",
            batching=config.batching,
            max_rows=config.max_rows,
            max_step_seconds=config.max_step_seconds,
            step_times=_step_times(config),
            sampler="euler",
            samplers=SAMPLERS,
        )
        self._config = config
        self._gate = gate
        self._darkroom = darkroom
        self._fitting_rows = fitting_rows
        self._undeveloped: deque[RequestOutput] = deque()

    def expect(self, requests: Sequence[Request]) -> None:
        """There is nothing to prepare."""

    def run(self, batch: Sequence[Request], on_step: OnStep) -> None:
        self._check(batch)
        if self._config.batching == "step":
            self._step(batch, on_step)
            return
        for _ in range(batch[0].params.num_steps):
            running = [request for request in batch if request.status is Status.RUNNING]
            if running:
                self._step(running, on_step)

    def seconds_to_spare(self) -> float:
        return 0.0

    def collect(self, *, wait: bool) -> Sequence[RequestOutput]:
        outputs: list[RequestOutput] = []
        while self._undeveloped and self._may_develop(wait=wait and not outputs):
            outputs.append(self._undeveloped.popleft())
        return outputs

    def release(self, request: Request) -> None:
        self.known.pop(request, None)
        self._undeveloped = deque(output for output in self._undeveloped if output.request is not request)

    def _check(self, batch: Sequence[Request]) -> None:
        key = batch_key if self._config.batching == "step" else call_key
        if len({key(request.params) for request in batch}) != 1:
            raise ValueError("the requests of a batch must have one key")
        if _num_rows(batch) > self._config.max_rows:
            raise ValueError("the batch has too many rows")
        if any(request.params.prompt == RAISING_PROMPT for request in batch):
            raise RuntimeError("the fake engine was asked to raise")

    def _step(self, batch: Sequence[Request], on_step: OnStep) -> None:
        if self._gate is not None and not self._gate.acquire(timeout=GATE_TIMEOUT):
            raise TimeoutError(f"no step was allowed for {GATE_TIMEOUT:g} s")
        start = time.monotonic()
        time.sleep(self._config.fake_step_seconds)
        outputs = [self._expose(self._advance(request)) for request in batch]
        duration = time.monotonic() - start
        halvings, fitting_rows = self._halve(_num_rows(batch))
        on_step(
            StepOutput(
                outputs,
                _num_rows(batch),
                duration,
                stages={"unet": duration},
                out_of_memory=halvings,
                fitting_rows=fitting_rows if halvings else None,
            )
        )

    def _halve(self, num_rows: int) -> tuple[int, int]:
        """How often a batch of so many rows must be halved, and how many rows are left of it."""
        halvings = 0
        while self._fitting_rows is not None and num_rows > self._fitting_rows:
            num_rows, halvings = num_rows // 2, halvings + 1
        return halvings, num_rows

    def _advance(self, request: Request) -> RequestOutput:
        params, step_index = request.params, self.known.setdefault(request, 0)
        self.known[request] = steps_done = step_index + 1
        if params.prompt == FAILING_PROMPT:
            return RequestOutput(request, steps_done, error="the fake engine was asked to fail this request")
        if self._fitting_rows is not None and params.num_rows > self._fitting_rows:
            return RequestOutput(request, steps_done, error="it does not fit into memory", code="out_of_memory")
        pixels = picture(params, steps_done)
        preview = pixels if params.preview_due(step_index) else None
        image = pixels if steps_done == params.num_steps else None
        is_long = len(params.prompt.split()) > MAX_WORDS
        return RequestOutput(request, steps_done, preview, image, prompt_truncated=is_long)

    def _expose(self, output: RequestOutput) -> RequestOutput:
        """What can be told at once; a picture that has to be developed comes later."""
        if self._darkroom is None or (output.preview is None and output.image is None):
            return output
        self._undeveloped.append(output)
        return RequestOutput(output.request, output.steps_done)

    def _may_develop(self, *, wait: bool) -> bool:
        assert self._darkroom is not None
        return self._darkroom.acquire(timeout=GATE_TIMEOUT) if wait else self._darkroom.acquire(blocking=False)


def _num_rows(batch: Sequence[Request]) -> int:
    return sum(request.params.num_rows for request in batch)


def _step_times(config: WorkerConfig) -> tuple[StepTime, ...]:
    """The same for all: a constant, though not 0."""
    seconds = max(config.fake_step_seconds, SHORTEST_STEP)
    return tuple(StepTime(pixels, rows, seconds) for pixels in (64 * 64, 256 * 256) for rows in (1, config.max_rows))


def load(config: WorkerConfig, progress: Callable[[str], None]) -> FakeEngine:
    progress("loading the fake engine")
    return FakeEngine(config)
