import numpy as np

from models.postcard.captions import describe, foreign, held_out
from models.postcard.world import COLOURS, HELD_OUT_FIRST_SEED, Scene, random_scene


def make_scene(subject: str | None = "boat", colour: str | None = "orange") -> Scene:
    return Scene("sunset", "sea", subject, colour, light=True, stars=False, clouds=1, mountains=False, snowcaps=False)


def captions_of(scene: Scene, number: int = 200, *, complete: bool = False) -> list[str]:
    rng = np.random.default_rng(0)
    return [describe(scene, rng, complete=complete) for _ in range(number)]


def test_the_same_seed_finds_the_same_words() -> None:
    assert captions_of(make_scene()) == captions_of(make_scene())


def test_wording_varies() -> None:
    assert len(set(captions_of(make_scene()))) > 100


def test_complete_captions_always_name_the_colour() -> None:
    assert all("orange" in caption for caption in captions_of(make_scene(), complete=True))


def test_an_article_fits_its_noun() -> None:
    captions = " ".join(captions_of(make_scene()))
    assert "an orange" in captions
    assert "a orange" not in captions


def test_an_empty_landscape_is_described_without_a_subject() -> None:
    captions = captions_of(make_scene(None, None))
    assert all(captions)
    assert not any("boat" in caption or "None" in caption for caption in captions)


def test_foreign_words_name_no_colour() -> None:
    rng = np.random.default_rng(0)
    words = {word for _ in range(300) for word in foreign(rng).replace(",", "").split()}
    assert not words & set(COLOURS)
    assert {"blurry", "low", "quality"} <= words


def test_held_out_captions_are_of_scenes_that_are_not_trained_on() -> None:
    trained = {random_scene(np.random.default_rng(seed)) for seed in range(500)}
    unseen = held_out(50, trained_scenes=500)
    assert len(unseen) == 50
    assert not trained & {each.scene for each in unseen}
    assert all(each.scene.subject and each.scene.colour for each in unseen)


def test_held_out_captions_start_at_the_first_held_out_seed() -> None:
    first = random_scene(np.random.default_rng(HELD_OUT_FIRST_SEED), empty=0.0)
    assert held_out(1, trained_scenes=0)[0].scene == first
