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
    each with guidance. So the first `len(scales)` rows and the last pair up, without any index.
    """

    trajectories: list[Trajectory]
    sample: Tensor  # [rows, 4, h/8, w/8] scaled latents
    timesteps: Tensor  # [rows]
    tokens: Tensor  # [rows, tokens, dim]
    pooled: Tensor  # [rows, dim]
    time_ids: Tensor  # [rows, 6]: original height and width, crop top and left, target height and width
    timestep_cond: Tensor | None  # [rows, dim], for guidance-distilled models
    scales: Tensor  # [guided, 1, 1, 1] fp32

    @property
    def num_rows(self) -> int:
        return len(self.sample)


def gather(batch: Sequence[Trajectory]) -> Rows:
    """Trajectories of one size -> the rows of one UNet call."""
    guided = [each for each in batch if each.negative is not None]
    trajectories = guided + [each for each in batch if each.negative is None]
    rows = trajectories + guided
    texts = [each.prompt for each in trajectories] + [each.negative for each in guided if each.negative is not None]
    device = rows[0].latents.device
    inputs = {each: each.model_input() for each in trajectories}
    conds = [each.timestep_cond for each in rows if each.timestep_cond is not None]
    return Rows(
        trajectories=trajectories,
        sample=torch.cat([inputs[each] for each in rows]),
        timesteps=torch.stack([each.timestep for each in rows]).to(device),
        tokens=torch.stack([text.tokens for text in texts]),
        pooled=torch.stack([text.pooled for text in texts]),
        time_ids=torch.stack([each.time_ids for each in rows]),
        timestep_cond=torch.stack(conds) if conds else None,
        scales=torch.tensor([each.guidance_scale for each in guided], device=device).view(-1, 1, 1, 1),
    )


def scatter(rows: Rows, noise: Tensor) -> list[tuple[Trajectory, Tensor]]:
    """[rows, 4, h/8, w/8] UNet output -> each trajectory with its own [1, 4, h/8, w/8] fp32, guidance applied."""
    noise = noise.float()
    num_guided, num_trajectories = len(rows.scales), len(rows.trajectories)
    positive, negative = noise[:num_guided], noise[num_trajectories:]
    guided = negative + rows.scales * (positive - negative)
    merged = torch.cat([guided, noise[num_guided:num_trajectories]])
    return list(zip(rows.trajectories, torch.split(merged, 1), strict=True))
