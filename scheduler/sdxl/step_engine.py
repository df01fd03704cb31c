"""Step mode: requests join and leave between denoising steps, each row with a timestep and a guidance of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scheduler.engine import OnStep, RequestOutput
from scheduler.messages import ModelInfo, WorkerConfig
from scheduler.request import Request
from scheduler.sdxl.admission import Admission
from scheduler.sdxl.aside import Aside, choose_aside
from scheduler.sdxl.failures import failure
from scheduler.sdxl.memory import Fitted, Memory, is_any_error
from scheduler.sdxl.pace import Pace
from scheduler.sdxl.pictures import Pictures, Slice
from scheduler.sdxl.results import StepCounts, report
from scheduler.sdxl.rows import Rows, gather, guide
from scheduler.sdxl.stepping import advance
from scheduler.sdxl.timing import Stopwatch
from scheduler.sdxl.trajectory import Trajectory
from scheduler.sdxl.weights import Model


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one UNet call gave: for each trajectory of `rows` its own [4, h/8, w/8] fp32, guidance applied."""

    rows: Rows
    guided: Tensor


class StepEngine:
    """One UNet call a `run`. The trajectories are the truth; the rows are a view of them, made for one step.

    Where memory does not hold the batch, the UNet is called for halves of it. Trajectories take their step only after
    all that, each as a whole or not at all: a UNet that raises leaves them as they are.
    """

    def __init__(self, model: Model, config: WorkerConfig, aside: Aside | None = None) -> None:
        aside = aside or choose_aside(model.device)
        self.model = model
        self._info = model.info(config)
        self._admission = Admission(model)
        self._memory = Memory(aside.free_memory)
        self._pace = Pace(aside.mark)
        self._pictures = Pictures(model, aside, self._memory)
        self._trajectories: dict[str, Trajectory] = {}

    @property
    def info(self) -> ModelInfo:
        return self._info

    def expect(self, requests: Sequence[Request]) -> None:
        self._admission.expect(requests)

    @torch.inference_mode()
    def run(self, batch: Sequence[Request], on_step: OnStep) -> None:
        self._pace.begin()
        watch = Stopwatch()
        failed = self._admit(batch, watch)
        trajectories = [self._trajectories[each.id] for each in batch if each.id in self._trajectories]
        with watch.stage("unet"):
            predicted = self._memory.fit(trajectories, self._predict)
        with watch.stage("sampler"):
            stuck = [each for made in predicted.results for each in advance(made.rows, made.guided, self._memory)]
        failed += [failure(each.request, each.steps_done, error) for each, error in predicted.failures + stuck]
        counts = self._counts(predicted)
        ids = {each.request.id for each in failed}
        slices = [_slice(each) for each in trajectories if each.request.id not in ids]
        on_step(report(self._pictures, slices, self._pace, watch, counts, failed))

    def seconds_to_spare(self) -> float:
        return self._pace.seconds_to_spare()

    @torch.inference_mode()
    def collect(self, *, wait: bool) -> Sequence[RequestOutput]:
        return self._pictures.collect(wait=wait)

    def release(self, request: Request) -> None:
        self._trajectories.pop(request.id, None)

    def _admit(self, batch: Sequence[Request], watch: Stopwatch) -> list[RequestOutput]:
        """Starts the trajectories of those that are new; returns those that cannot start."""
        new = [request for request in batch if request.id not in self._trajectories]
        if not new:
            return []
        with watch.stage("text_encode"):
            started = self._memory.fit(new, self._admission.start, is_any_error)
        self._trajectories |= {each.request.id: each for part in started.results for each in part}
        return [failure(request, request.steps_done, error) for request, error in started.failures]

    def _predict(self, trajectories: Sequence[Trajectory]) -> Prediction:
        rows = gather(trajectories)
        return Prediction(rows, guide(rows, self._call_unet(rows)))

    def _call_unet(self, rows: Rows) -> Tensor:
        """[rows, 4, h/8, w/8] in the UNet's dtype."""
        prediction: Tensor = self.model.pipe.unet(
            rows.sample,
            rows.timesteps,
            encoder_hidden_states=rows.tokens,
            timestep_cond=rows.timestep_cond,
            added_cond_kwargs={"text_embeds": rows.pooled, "time_ids": rows.time_ids},
            return_dict=False,
        )[0]
        return prediction

    def _num_padding(self, rows: Rows) -> int:
        return self.model.num_padding(rows.num_rows, rows.trajectories[0].params)

    def _counts(self, predicted: Fitted[Trajectory, Prediction]) -> StepCounts:
        rows = [prediction.rows.num_rows for prediction in predicted.results]
        hits, misses = self._admission.take_lookups()
        return StepCounts(
            num_rows=sum(rows),
            padded_rows=sum(self._num_padding(prediction.rows) for prediction in predicted.results),
            fitting_rows=None if predicted.is_whole else max(rows, default=None),
            prompt_hits=hits,
            prompt_misses=misses,
        )


def _slice(trajectory: Trajectory) -> Slice:
    return Slice(
        request=trajectory.request,
        steps_done=trajectory.steps_done,
        latents=trajectory.latents,
        x0=trajectory.x0,
        prompt_truncated=trajectory.is_truncated,
    )
