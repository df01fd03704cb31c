"""The engine protocol: one model on one device. It knows requests and batches, and nothing above them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scheduler.messages import ModelInfo
from scheduler.request import Request

Pixels = NDArray[np.uint8]
"""[height, width, 3] uint8 RGB."""


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """What the engine has for one request.

    `steps_done` counts completed steps, 1..num_steps. `preview` is the predicted clean image after as many steps,
    `image` the finished picture. `error` ends the request, with a reason for people and a `code` for programs.
    """

    request: Request
    steps_done: int
    preview: Pixels | None = None
    image: Pixels | None = None
    error: str | None = None
    code: str = "engine_error"
    prompt_truncated: bool = False


@dataclass(frozen=True, slots=True)
class StepOutput:
    """One denoising step of a batch. `num_rows` counts UNet rows, padding not included; times in seconds.

    `memory_used` and `memory_total` are the device's, in bytes; 0 where there is nothing to tell. `out_of_memory`
    counts how often something did not fit and was halved; `fitting_rows`, set if that was the batch, is what did fit.
    """

    outputs: Sequence[RequestOutput]
    num_rows: int
    duration: float
    stages: Mapping[str, float] = field(default_factory=dict)
    padded_rows: int = 0
    memory_used: int = 0
    memory_total: int = 0
    out_of_memory: int = 0
    fitting_rows: int | None = None
    prompt_hits: int = 0
    prompt_misses: int = 0


OnStep = Callable[[StepOutput], None]


class Engine(Protocol):
    """Runs batches. Called from one thread only.

    `run` takes requests whose batch keys agree and reports each denoising step through `on_step` before it goes on: a
    step engine makes one step and returns, a call engine makes all of them. A request seen for the first time is
    encoded and given its latents by `run`; a request whose status is no longer RUNNING when `on_step` returns is not
    reported again by `run`. `release` forgets a request, known or not; it is never called while `run` runs.

    `expect` tells before a `run` which requests will start next, the first to start first. An engine may prepare for
    them where that is cheaper than to do it when they start, and may as well not.

    An engine may make previews and pictures beside the steps: then `run` reports a step without them, and `collect`
    gives them when they are ready. A request that made its last step and has no picture yet is DECODING. The loop asks
    in every `on_step`, after every turn, and every few milliseconds while there is nothing else to do. With `wait`,
    `collect` returns only when it has something, or nothing is being made.

    Where a device goes on by itself, `run` returns before its step is computed. `seconds_to_spare` tells how long the
    device has enough to do: so long the next batch need not be put together, and whoever arrives meanwhile may join it.
    It may be too little, so the loop asks again before every `run`; 0 where `run` returns when all is done. Raises
    `DeviceLost`.
    """

    @property
    def info(self) -> ModelInfo: ...

    def expect(self, requests: Sequence[Request]) -> None: ...

    def run(self, batch: Sequence[Request], on_step: OnStep) -> None: ...

    def seconds_to_spare(self) -> float: ...

    def collect(self, *, wait: bool) -> Sequence[RequestOutput]: ...

    def release(self, request: Request) -> None: ...


class LoadError(Exception):
    """An engine cannot be loaded. The message is one line that says what to do."""


class DeviceLost(Exception):  # noqa: N818 - a state of the device
    """The device takes no more work from this process; only another process can go on."""


def describe(error: BaseException) -> str:
    """One line for people: the kind of error and what it says."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
