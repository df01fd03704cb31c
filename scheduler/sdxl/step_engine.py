"""Step mode: requests join and leave between denoising steps, each row with a timestep and a guidance of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from scheduler.engine import OnStep, RequestOutput
from scheduler.messages import ModelInfo, WorkerConfig
from scheduler.request import Request
from scheduler.sdxl.admission import Admission
from scheduler.sdxl.results import Slice, report
from scheduler.sdxl.rows import Rows, gather, scatter
from scheduler.sdxl.timing import Stopwatch
from scheduler.sdxl.trajectory import Trajectory
from scheduler.sdxl.weights import Model


class StepEngine:
    """One UNet call a `run`. The trajectories are the truth; the rows are a view of them, made for one step."""

    def __init__(self, model: Model, config: WorkerConfig) -> None:
        self._model = model
        self._info = model.info(config)
        self._admission = Admission(model)
        self._trajectories: dict[str, Trajectory] = {}

    @property
    def info(self) -> ModelInfo:
        return self._info

    @torch.inference_mode()
    def run(self, batch: Sequence[Request], on_step: OnStep) -> None:
        watch = Stopwatch()
        trajectories = self._admit(batch, watch)
        with watch.stage("unet"):
            rows = gather(trajectories)
            noise = self._predict(rows)
        with watch.stage("sampler"):
            for trajectory, prediction in scatter(rows, noise):
                trajectory.advance(prediction)
        on_step(report(self._model, [_slice(each) for each in trajectories], watch, rows.num_rows))

    def collect(self, *, wait: bool) -> Sequence[RequestOutput]:  # noqa: ARG002 - nothing is made beside the steps
        return []

    def release(self, request: Request) -> None:
        self._trajectories.pop(request.id, None)

    def _admit(self, batch: Sequence[Request], watch: Stopwatch) -> list[Trajectory]:
        """The batch's trajectories, started for those that are new."""
        if new := [request for request in batch if request.id not in self._trajectories]:
            with watch.stage("text_encode"):
                self._trajectories |= {each.request.id: each for each in self._admission.start(new)}
        return [self._trajectories[request.id] for request in batch]

    def _predict(self, rows: Rows) -> Tensor:
        """[rows, 4, h/8, w/8] in the UNet's dtype."""
        prediction: Tensor = self._model.pipe.unet(
            rows.sample,
            rows.timesteps,
            encoder_hidden_states=rows.tokens,
            timestep_cond=rows.timestep_cond,
            added_cond_kwargs={"text_embeds": rows.pooled, "time_ids": rows.time_ids},
            return_dict=False,
        )[0]
        return prediction


def _slice(trajectory: Trajectory) -> Slice:
    return Slice(
        request=trajectory.request,
        steps_done=trajectory.steps_done,
        latents=trajectory.latents,
        x0=trajectory.x0,
        prompt_truncated=trajectory.prompt.truncated,
    )
