"""From a configuration to an engine that has painted once."""

from collections.abc import Callable

from scheduler.engine import Engine, LoadError, StepOutput, describe
from scheduler.messages import WorkerConfig
from scheduler.request import GenerateParams, Request, Status
from scheduler.sdxl.call_engine import CallEngine
from scheduler.sdxl.step_engine import StepEngine
from scheduler.sdxl.weights import load_model

WARM_UP_STEPS = 2  # the first ends in a preview, the second in the picture


def load_engine(config: WorkerConfig, progress: Callable[[str], None]) -> Engine:
    try:
        model = load_model(config, progress)
        engine = StepEngine(model, config) if config.batching == "step" else CallEngine(model, config)
        progress("warming up")
        _warm_up(engine)
    except (RuntimeError, ValueError, TypeError) as error:  # out of memory is a RuntimeError
        raise LoadError(
            f"{config.model} cannot run here, try another --device or --dtype: {describe(error)}"
        ) from error
    return engine


def _warm_up(engine: Engine) -> None:
    """Paint one picture of the default size, so that the first request does not pay for what is made on first use."""
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
    engine.release(request)
    if error := steps[-1].outputs[0].error:
        raise ValueError(error)
