"""The batch as the UNet sees it: gathered from the requests for one step, and given back to them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scheduler.sdxl.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Rows:
    """The input of one UNet call.

    A row with the prompt for each of `trajectories`, those with guidance first; then a row with the negative prompt for
    each with guidance. So the first and the last rows pair up, as many as `guidance` has, without any index.
    """

    trajectories: list[Trajectory]
    sample: Tensor  # [rows, 4, h/8, w/8] scaled latents
    timesteps: Tensor  # [rows]
    tokens: Tensor  # [rows, tokens, dim]
    pooled: Tensor  # [rows, dim]
    time_ids: Tensor  # [rows, 6]: original height and width, crop top and left, target height and width
    timestep_cond: Tensor | None  # [rows, dim], for guidance-distilled models
    guidance: Tensor | None  # [guided, 2] fp32: scale and rescale
    is_rescaled: bool  # whether any rescale is not 0

    @property
    def num_rows(self) -> int:
        return len(self.sample)


def gather(batch: Sequence[Trajectory]) -> Rows:
    """Trajectories of one size -> the rows of one UNet call."""
    guided = [each for each in batch if each.negative is not None]
    trajectories = guided + [each for each in batch if each.negative is None]
    rows = trajectories + guided
    texts = [each.prompt for each in trajectories] + [each.negative for each in guided if each.negative is not None]
    inputs = {each: each.model_input() for each in trajectories}
    # Stacked from what lies where the UNet is: a copy from the CPU would wait for all that the device has to do.
    return Rows(
        trajectories=trajectories,
        sample=torch.cat([inputs[each] for each in rows]),
        timesteps=torch.stack([each.timesteps[each.steps_done] for each in rows]),
        tokens=torch.stack([text.tokens for text in texts]),
        pooled=torch.stack([text.pooled for text in texts]),
        time_ids=torch.stack([each.time_ids for each in rows]),
        timestep_cond=_stack([each.timestep_cond for each in rows if each.timestep_cond is not None]),
        guidance=_stack([each.guidance for each in guided]),
        is_rescaled=any(each.params.guidance_rescale for each in guided),
    )


def _stack(tensors: Sequence[Tensor]) -> Tensor | None:
    return torch.stack(list(tensors)) if tensors else None


def scatter(rows: Rows, noise: Tensor) -> list[tuple[Trajectory, Tensor]]:
    """[rows, 4, h/8, w/8] UNet output -> each trajectory with its own [1, 4, h/8, w/8] fp32, guidance applied."""
    noise = noise.float()
    predictions, negative = noise[: len(rows.trajectories)], noise[len(rows.trajectories) :]
    if rows.guidance is not None:
        positive, unguided = predictions[: len(negative)], predictions[len(negative) :]
        guided = _guide(positive, negative, rows.guidance, is_rescaled=rows.is_rescaled)
        predictions = torch.cat([guided, unguided])
    return list(zip(rows.trajectories, torch.split(predictions, 1), strict=True))


def _guide(positive: Tensor, negative: Tensor, guidance: Tensor, *, is_rescaled: bool) -> Tensor:
    """Classifier-free guidance (https://arxiv.org/abs/2207.12598), each row with its own scale."""
    scale, rescale = guidance[:, :, None, None, None].unbind(1)
    guided = negative + scale * (positive - negative)
    return _rescale(guided, positive, rescale) if is_rescaled else guided


def _rescale(guided: Tensor, positive: Tensor, share: Tensor) -> Tensor:
    """Gives each row back a share of the contrast it had before guidance: https://arxiv.org/abs/2305.08891, 3.4."""
    contrast = [each.std(dim=(1, 2, 3), keepdim=True) for each in (positive, guided)]
    return guided.lerp(guided * (contrast[0] / contrast[1]), share)
