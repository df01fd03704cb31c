"""The kernels of attention."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from scheduler.sdxl.attention import with_attention

backends: Any = torch.backends.cuda  # untyped


def attend(query: Tensor) -> Tensor:
    return scaled_dot_product_attention(query, query, query)


@pytest.fixture
def query() -> Tensor:
    return torch.randn(2, 4, 16, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["flash", "math"])
def test_kernels_give_the_same(kind: str, query: Tensor) -> None:
    assert torch.allclose(with_attention(attend, kind)(query), attend(query), atol=1e-5)


def test_a_kernel_that_cannot_be_used_is_told(query: Tensor) -> None:
    with pytest.raises(RuntimeError, match=r"No (available|viable)"):
        with_attention(attend, "efficient")(query)


def test_the_choice_holds_inside_only(query: Tensor) -> None:
    inside: list[bool] = []

    def note(_: Tensor) -> None:
        inside.append(backends.math_sdp_enabled())

    with_attention(note, "flash")(query)
    assert inside == [False]
    assert backends.math_sdp_enabled()


def test_auto_leaves_the_network_as_it_is() -> None:
    assert with_attention(attend, "auto") is attend
