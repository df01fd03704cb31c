"""Modules that run out of memory above a given size, as a small device would."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Limit:
    """Raises for an input that is too large; `sizes` are those that were let pass. Copies of a module share it."""

    def __init__(self, most: int, size_of: Callable[[Tensor], int]) -> None:
        self.most = most
        self.sizes: list[int] = []
        self.num_refused = 0
        self._size_of = size_of

    def __call__(self, _: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        size = self._size_of(args[0] if args else kwargs["input_ids"])
        if size > self.most:
            self.num_refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        self.sizes.append(size)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Limit":
        return self


def limit_rows(module: nn.Module, most: int) -> Limit:
    return _limit(module, most, len)


def limit_pixels(module: nn.Module, most: int) -> Limit:
    """Latent pixels, of all rows together."""
    return _limit(module, most, lambda latents: len(latents) * latents[0, 0].numel())


def _limit(module: nn.Module, most: int, size_of: Callable[[Tensor], int]) -> Limit:
    limit = Limit(most, size_of)
    module.register_forward_pre_hook(limit, with_kwargs=True)
    return limit
