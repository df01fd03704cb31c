"""Which of PyTorch's kernels the UNet's attention runs in."""

from typing import Any

from torch.nn.attention import SDPBackend, sdpa_kernel

from scheduler.sdxl.warmed import Network

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def with_attention(network: Network, kind: str) -> Network:
    """The network with that kernel alone: it raises where the kernel cannot be used. No other kind changes it."""
    if kind not in KERNELS:
        return network

    def run(*args: Any, **kwargs: Any) -> Any:
        with sdpa_kernel(KERNELS[kind]):
            return network(*args, **kwargs)

    return run
