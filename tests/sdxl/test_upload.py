"""Uploads: the same numbers, in a copy that nobody waits for."""

import pytest
import torch

from scheduler.sdxl.upload import staging, upload


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_arrive_as_they_are(dtype: torch.dtype) -> None:
    numbers = torch.tensor([[1.5, -2.0], [0.25, 8.0]], dtype=dtype)
    assert torch.equal(upload(numbers, torch.device("cpu")), numbers)


def test_a_device_gets_its_own() -> None:
    uploaded = upload(torch.ones(2, 3, dtype=torch.bfloat16), torch.device("meta"))
    assert (uploaded.device.type, uploaded.shape, uploaded.dtype) == ("meta", (2, 3), torch.bfloat16)


def test_what_is_to_be_filled_is_zeros_on_the_cpu() -> None:
    stage = staging((2, 3), torch.device("meta"))
    assert (stage.device.type, stage.dtype) == ("cpu", torch.float32)
    assert stage.tolist() == [[0.0] * 3] * 2
