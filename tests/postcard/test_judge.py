import dataclasses

import numpy as np
import pytest

from models.postcard.draw import draw_scene, picture
from models.postcard.judge import judge
from models.postcard.world import COLOURS, HELD_OUT_FIRST_SEED, random_scene


@pytest.mark.parametrize(("width", "height"), [(256, 256), (192, 192), (320, 192)])
def test_the_judge_is_right_on_drawn_pictures(width: int, height: int) -> None:
    seeds = range(HELD_OUT_FIRST_SEED, HELD_OUT_FIRST_SEED + 100)
    drawn = [picture(seed, width, height) for seed in seeds]
    right = [judge(pixels, scene.subject).agrees(scene) for scene, pixels in drawn]
    assert sum(right) >= 99


@pytest.mark.parametrize("colour", COLOURS)
def test_the_judge_reads_the_colour_off_the_picture(colour: str) -> None:
    scene = dataclasses.replace(random_scene(np.random.default_rng(3)), ground="field", subject="house", colour=colour)
    assert judge(draw_scene(scene, np.random.default_rng(3)), "house").colour == colour


def test_the_judge_misses_a_subject_that_is_not_there() -> None:
    found = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scene = random_scene(rng, empty=0.0)
        bare = draw_scene(dataclasses.replace(scene, subject=None, colour=None), rng)
        found += judge(bare, scene.subject).colour == scene.colour
    assert found <= 3


def test_the_judge_finds_nothing_in_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    right = [judge(noise, "house").agrees(random_scene(np.random.default_rng(seed), empty=0.0)) for seed in range(100)]
    assert sum(right) <= 5
