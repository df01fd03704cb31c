"""From a configuration to an engine that has painted once."""

import dataclasses
import itertools
from collections.abc import Callable
from contextlib import suppress

import msgspec

from scheduler.engine import Engine, LoadError, StepOutput, describe
from scheduler.messages import WorkerConfig
from scheduler.request import GenerateParams, Request, Status
from scheduler.sdxl.calibration import calibrate
from scheduler.sdxl.call_engine import CallEngine
from scheduler.sdxl.course import survey
from scheduler.sdxl.gauge import choose_gauge, measure_memory
from scheduler.sdxl.speedups import apply
from scheduler.sdxl.step_engine import StepEngine
from scheduler.sdxl.weights import Model, load_model

WARM_UP_STEPS = 2  # the first ends in a preview, the second in the picture
USUAL_STEPS = (4, 8, 20, 30, 50)  # of requests


def load_engine(config: WorkerConfig, progress: Callable[[str], None]) -> Engine:
    try:
        model = load_model(config, progress)
        model = apply(model, config.speedups, max_rows=config.max_rows, progress=progress)
        calibration = calibrate(model, config, progress)
        memory_use = measure_memory(model, choose_gauge(model.device), calibration.step_peaks)
        model = dataclasses.replace(model, step_times=calibration.step_times, memory_use=memory_use)
        config = msgspec.structs.replace(config, max_rows=calibration.max_rows)
        engine = StepEngine(model, config) if config.batching == "step" else CallEngine(model, config)
        progress("warming up")
        reason = _warm_up(engine)
        _survey(model)
    except (RuntimeError, ValueError, TypeError) as error:  # out of memory is a RuntimeError
        raise _cannot_run(config.model, describe(error)) from error
    if reason is not None:
        raise _cannot_run(config.model, reason)
    return engine


def _cannot_run(model: str, reason: str) -> LoadError:
    return LoadError(f"{model} cannot run here, try another --device or --dtype: {reason}")


def _warm_up(engine: Engine) -> str | None:
    """Paint one picture of the default size, so that the first request does not pay for what is made on first use.

    Returns why it cannot be painted, if so.
    """
    params = GenerateParams(
        prompt="a warm-up",
        width=engine.info.default_width,
        height=engine.info.default_height,
        num_steps=WARM_UP_STEPS,
        preview_every=1,
    )
    request = Request(id="warm-up", params=params, status=Status.RUNNING)
    steps: list[StepOutput] = []
    while len(steps) < params.num_steps:
        engine.run([request], steps.append)
    outputs = list(steps[-1].outputs)
    while made := engine.collect(wait=True):
        outputs += made
    engine.release(request)
    return next((output.error for output in outputs if output.error is not None), None)


def _survey(model: Model) -> None:
    """The usual runs of every noise sampler, so that their first steps need not wait for it."""
    for name, num_steps in itertools.product((None, *model.prototypes.names), USUAL_STEPS):
        with suppress(Exception):  # a number of steps that it does not have is told to whoever asks for it
            survey(model.prototypes.get(name), num_steps)
