"""The accelerator that figures belong to, as it was found; nothing of it is ever set."""

from typing import Any

import msgspec
import torch

from benchmarks.environment import output_lines

cudnn: Any = torch.backends.cudnn  # untyped

QUERIED = (
    *("driver_version", "memory.total", "power.limit", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem"),
    *("temperature.gpu", "utilization.gpu"),
)


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """`settings` as `nvidia-smi` tells them before the measurement, with their units."""

    name: str
    memory_gib: float
    multiprocessors: int
    capability: str
    cuda: str
    cudnn: str
    settings: dict[str, str]

    def line(self) -> str:
        driver, power = self.settings.get("driver_version", "unknown"), self.settings.get("power.limit", "unknown")
        return (
            f"{self.name}, {self.memory_gib:.0f} GiB, {self.multiprocessors} multiprocessors, driver {driver}, "
            f"power limit {power}, CUDA {self.cuda}, cuDNN {self.cudnn}"
        )


def describe_card(device: torch.device) -> Card | None:
    """None where there is no CUDA device."""
    if device.type != "cuda":
        return None
    there = torch.cuda.get_device_properties(device)
    return Card(
        name=there.name,
        memory_gib=round(there.total_memory / 2**30, 1),
        multiprocessors=there.multi_processor_count,
        capability=f"{there.major}.{there.minor}",
        cuda=str(torch.version.cuda),
        cudnn=str(cudnn.version()),
        settings=query(device, QUERIED),
    )


def query(device: torch.device, names: tuple[str, ...]) -> dict[str, str]:
    """What `nvidia-smi` tells of a card, by name; nothing where it is missing."""
    lines = output_lines(
        "nvidia-smi", f"--id={device.index or 0}", f"--query-gpu={','.join(names)}", "--format=csv,noheader"
    )
    return dict(zip(names, lines[0].split(", "), strict=False)) if lines else {}
