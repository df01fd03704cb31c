"""The batch as the UNet sees it: gathered from the requests for one step, and guidance applied to what it predicts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scheduler.sdxl.trajectory import Trajectory
from scheduler.sdxl.upload import upload


@dataclass(frozen=True, slots=True)
class Rows:
    """The input of one UNet call, and what the step after it needs.

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
    guidance: Tensor  # [guided, 2] fp32: scale and rescale
    is_rescaled: bool  # whether any rescale is not 0
    states: Tensor  # [trajectories, 1 + EARLIER, 4, h/8, w/8] fp32
    weights: Tensor  # [trajectories, fields of StepWeights] fp32

    @property
    def num_rows(self) -> int:
        return len(self.sample)


def gather(batch: Sequence[Trajectory]) -> Rows:
    """Trajectories of one size -> the rows of one UNet call.

    Stacked from what lies where the UNet is, but for a few numbers of each, which are sent in one piece.
    """
    guided = [each for each in batch if each.negative is not None]
    trajectories = guided + [each for each in batch if each.negative is None]
    rows = trajectories + guided
    texts = [each.prompt for each in trajectories] + [each.negative for each in guided if each.negative is not None]
    states = torch.stack([each.state for each in trajectories])
    numbers = upload(torch.tensor([_numbers(each) for each in trajectories]), states.device)
    timesteps, scales = numbers[:, 0], numbers[:, 1, None, None, None]
    tokens = torch.stack([text.tokens for text in texts])
    sample = (states[:, 0] * scales).to(tokens.dtype)
    return Rows(
        trajectories=trajectories,
        sample=torch.cat([sample, sample[: len(guided)]]),
        timesteps=torch.cat([timesteps, timesteps[: len(guided)]]),
        tokens=tokens,
        pooled=torch.stack([text.pooled for text in texts]),
        time_ids=torch.stack([each.time_ids for each in rows]),
        timestep_cond=_stack([each.timestep_cond for each in rows if each.timestep_cond is not None]),
        guidance=numbers[: len(guided), -2:],
        is_rescaled=any(each.params.guidance_rescale for each in guided),
        states=states,
        weights=numbers[:, :-2],
    )


def _numbers(trajectory: Trajectory) -> tuple[float, ...]:
    return (*trajectory.step, trajectory.params.guidance_scale, trajectory.params.guidance_rescale)


def _stack(tensors: Sequence[Tensor]) -> Tensor | None:
    return torch.stack(list(tensors)) if tensors else None


def guide(rows: Rows, output: Tensor) -> Tensor:
    """[rows, 4, h/8, w/8] UNet output -> [trajectories, 4, h/8, w/8] fp32, guidance applied."""
    output, num_guided = output.float(), len(rows.guidance)
    if not num_guided:
        return output
    positive, unguided, negative = torch.split(output, [num_guided, rows.num_rows - 2 * num_guided, num_guided])
    return torch.cat([_guide(positive, negative, rows.guidance, is_rescaled=rows.is_rescaled), unguided])


def _guide(positive: Tensor, negative: Tensor, guidance: Tensor, *, is_rescaled: bool) -> Tensor:
    """Classifier-free guidance (https://arxiv.org/abs/2207.12598), each row with its own scale."""
    scale, rescale = guidance[:, :, None, None, None].unbind(1)
    guided = negative + scale * (positive - negative)
    return _rescale(guided, positive, rescale) if is_rescaled else guided


def _rescale(guided: Tensor, positive: Tensor, share: Tensor) -> Tensor:
    """Gives each row back a share of the contrast it had before guidance: https://arxiv.org/abs/2305.08891, 3.4."""
    contrast = [each.std(dim=(1, 2, 3), keepdim=True) for each in (positive, guided)]
    return guided.lerp(guided * (contrast[0] / contrast[1]), share)
