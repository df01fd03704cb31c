"""Numbers on their way to the device, for which nobody waits."""

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor -> the device. On CUDA it arrives behind what the device has to do by now.

    Only from pinned memory does CUDA copy by itself; PyTorch keeps it until then. Apple's GPUs read memory that nobody
    keeps, so for them the program waits.
    """
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=device.type != "mps")


def staging(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Zeros in fp32 on the CPU, to be filled and uploaded."""
    return torch.zeros(shape, pin_memory=device.type == "cuda")
