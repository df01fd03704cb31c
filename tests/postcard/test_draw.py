import numpy as np
import pytest

from models.postcard.draw import draw_scene, picture
from models.postcard.world import COLOURS, GROUNDS, HELD_OUT_FIRST_SEED, SKIES, SUBJECTS, Scene, random_scene


def make_scene(
    time: str = "day", ground: str = "field", subject: str | None = "house", colour: str | None = "red"
) -> Scene:
    return Scene(time, ground, subject, colour, light=True, stars=False, clouds=2, mountains=True, snowcaps=True)


def test_the_same_seed_draws_the_same_picture() -> None:
    scene, pixels = picture(7)
    again, same_pixels = picture(7)
    assert scene == again
    assert np.array_equal(pixels, same_pixels)


def test_other_seeds_draw_other_pictures() -> None:
    assert not np.array_equal(picture(7)[1], picture(8)[1])


@pytest.mark.parametrize(("width", "height"), [(256, 256), (192, 320), (320, 192)])
def test_pictures_have_the_size_asked_for(width: int, height: int) -> None:
    pixels = picture(1, width, height)[1]
    assert pixels.shape == (height, width, 3)
    assert pixels.dtype == np.uint8


def test_the_size_does_not_change_the_scene() -> None:
    assert picture(5, 64, 64)[0] == picture(5, 128, 96)[0]


@pytest.mark.parametrize("time", SKIES)
@pytest.mark.parametrize("ground", GROUNDS)
def test_every_subject_can_be_drawn_everywhere(time: str, ground: str) -> None:
    empty = draw_scene(make_scene(time, ground, None, None), np.random.default_rng(0), 64, 64)
    for subject in SUBJECTS[ground]:
        drawn = draw_scene(make_scene(time, ground, subject, "red"), np.random.default_rng(0), 64, 64)
        assert not np.array_equal(drawn, empty)


def test_a_subject_without_a_colour_is_refused() -> None:
    with pytest.raises(ValueError, match="a house needs a colour"):
        draw_scene(make_scene(colour=None), np.random.default_rng(0), 64, 64)


def test_scenes_cover_the_world() -> None:
    scenes = [random_scene(np.random.default_rng(seed)) for seed in range(600)]
    assert {scene.time for scene in scenes} == set(SKIES)
    assert {scene.ground for scene in scenes} == set(GROUNDS)
    assert {scene.colour for scene in scenes} == {*COLOURS, None}


def test_held_out_seeds_lie_beyond_all_trained_ones() -> None:
    from models.postcard.recipe import Recipe

    recipe = Recipe()
    trained = max(recipe.vae_pictures, recipe.other_latents, *(count for _, count in recipe.square_latents))
    assert trained <= HELD_OUT_FIRST_SEED
