"""The judge is sharp: the tiny model's latents tell apart what the engines could mix up."""

from typing import Any

import pytest

from tests.sdxl.drive import make_request
from tests.sdxl.oracle import TOLERANCE, Oracle, error_of_range

OTHERS: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "a red mouse"},
    "negative prompt": {"negative_prompt": "rain"},
    "empty negative prompt": {"negative_prompt": ""},
    "no negative prompt": {"negative_prompt": None},
    "guidance": {"guidance_scale": 5.1},
    "guidance rescale": {"guidance_rescale": 0.1},
    "original size": {"original_size": (72, 64)},
    "target size": {"target_size": (64, 72)},
    "crop": {"crop": (8, 0)},
    "sampler": {"sampler": "dpmpp_2m"},
    "number of steps": {"num_steps": 5},
    "seed": {"seed": 1},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_request_gives_other_latents(other: dict[str, Any], tiny_oracle: Oracle) -> None:
    latents = tiny_oracle.run(make_request(preview_every=0).params).latents[-1]
    others = tiny_oracle.run(make_request(preview_every=0, **other).params).latents[-1]
    assert error_of_range(others, latents) > 20 * TOLERANCE


def test_no_and_an_empty_negative_prompt_differ(tiny_oracle: Oracle) -> None:
    no, empty = (tiny_oracle.run(make_request(negative_prompt=each).params).latents[-1] for each in (None, ""))
    assert error_of_range(no, empty) > 20 * TOLERANCE
