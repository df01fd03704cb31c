"""Run requests through an engine as the loop does, and keep all that comes out."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from torch import Tensor

from scheduler.call_scheduler import CallScheduler
from scheduler.cost import CostModel
from scheduler.engine import Engine, Pixels, RequestOutput, StepOutput
from scheduler.request import GenerateParams, Request
from scheduler.scheduler import Scheduler, StepScheduler
from scheduler.sdxl import call_engine, results, step_engine
from tests.info import make_info


@dataclass
class Trace:
    """What one request was given. `latents` and `x0` after each of its steps; `previews` by completed steps."""

    latents: list[Tensor] = field(default_factory=list)
    x0: list[Tensor] = field(default_factory=list)
    previews: dict[int, Pixels] = field(default_factory=dict)
    image: Pixels | None = None
    error: str | None = None
    code: str | None = None
    prompt_truncated: bool = False


class Driver:
    """The engine loop without its threads. `traces` by request id, `steps` in order."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch, max_rows: int = 64) -> None:
        self.engine = engine
        self.traces: dict[str, Trace] = {}
        self.steps: list[StepOutput] = []
        self.scheduler = _scheduler(engine, max_rows)
        self._known: list[Request] = []
        self._after_step: Callable[[int], None] = lambda _: None
        self._spy_on_report(monkeypatch)

    def run(self, joins: Mapping[int, Iterable[Request]], after_step: Callable[[int], None] = lambda _: None) -> None:
        """Runs until nothing is left. `joins`: who arrives before which turn. `after_step` gets the number of steps."""
        self._after_step = after_step
        turn, last_join = 0, max(joins)
        while turn <= last_join or not self.scheduler.is_idle:
            for request in joins.get(turn, ()):
                self.traces[request.id] = Trace()
                self._known.append(request)
                self.scheduler.add(request)
            batch = self.scheduler.schedule(now=float("inf"))
            if batch:
                self.engine.run(batch, self._on_step)
            self._take(self.engine.collect(wait=not batch))
            self._release()
            turn += 1

    def _on_step(self, output: StepOutput) -> None:
        self.steps.append(output)
        self._take(output.outputs)
        self._after_step(len(self.steps))

    def _take(self, outputs: Sequence[RequestOutput]) -> None:
        for result in outputs:
            trace = self.traces[result.request.id]
            trace.image, trace.prompt_truncated = result.image, result.prompt_truncated
            if result.error is not None:
                trace.error, trace.code = result.error, result.code
            if result.preview is not None:
                trace.previews[result.steps_done] = result.preview
        self.scheduler.postprocess(outputs)

    def _release(self) -> None:
        for request in [each for each in self._known if not each.is_live]:
            self._known.remove(request)
            self.engine.release(request)

    def _spy_on_report(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Engines keep latents to themselves; this is where both let them pass."""

        def report(model: Any, slices: Any, *args: Any, **kwargs: Any) -> StepOutput:
            for each in slices:
                trace = self.traces.setdefault(each.request.id, Trace())
                trace.latents.append(each.latents.clone())
                trace.x0.append(each.x0.clone())
            return results.report(model, slices, *args, **kwargs)

        for module in (step_engine, call_engine):
            monkeypatch.setattr(module, "report", report)


def _scheduler(engine: Engine, max_rows: int) -> Scheduler:
    cost = CostModel(make_info(max_rows=max_rows, max_step_seconds=math.inf))
    if engine.info.batching == "step":
        return StepScheduler(cost)
    return CallScheduler(cost, max_batch=8, max_wait=0.0)


def make_request(id_: str = "request", **params: Any) -> Request:
    defaults: dict[str, Any] = {"prompt": "a red house", "width": 64, "height": 64, "num_steps": 4, "preview_every": 1}
    return Request(id=id_, params=GenerateParams(**(defaults | params)))
