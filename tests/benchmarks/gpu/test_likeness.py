"""Differences between results that should be the same."""

import pytest
import torch

from benchmarks.gpu.lab import Lab, make_params, running
from benchmarks.gpu.likeness import Latents, decibel, differences, exact_float32, relative_error, run_joining


def test_a_relative_error_is_one_of_norms() -> None:
    reference = torch.tensor([3.0, 4.0])
    assert relative_error(reference, reference) == 0
    assert relative_error(reference + torch.tensor([0.0, 0.5]), reference) == pytest.approx(0.1)


def test_decibels_are_those_of_levels() -> None:
    black = torch.zeros(4)
    assert decibel(black, black) == 100
    assert decibel(black + 255, black) == pytest.approx(0)
    assert decibel(black + 25.5, black) == pytest.approx(20)


def test_requests_that_join_one_by_one_give_their_latents_in_order(lab: Lab) -> None:
    latents = Latents()
    engine = lab.engine(lab.model("float32"), 6, latents)
    together = run_joining(engine, latents, running(make_params(64, 3), 3))
    alone = [run_joining(engine, latents, [each])[0] for each in running(make_params(64, 3), 3)]
    figures = differences(together, alone, lab.model("float32").pipe.vae)
    assert max(figures["error"]) < 1e-4
    assert max(figures["levels"]) <= 2
    assert differences(together[:1], together[1:2], lab.model("float32").pipe.vae)["error"][0] > 0.1


def test_convolutions_are_exact_inside_only() -> None:
    before = torch.backends.cudnn.allow_tf32
    with exact_float32():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before
