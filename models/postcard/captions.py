"""Says in words what a scene shows, in many ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.postcard.world import COLOURS, HELD_OUT_FIRST_SEED, Scene, random_scene

TIME_PHRASES: dict[str, tuple[str, ...]] = {
    "day": ("under a blue sky", "by day", "at noon", "in daylight", "during the day", "on a bright day"),
    "sunrise": ("at sunrise", "at dawn", "in the early morning", "under a sunrise sky", "in the morning"),
    "sunset": ("at sunset", "at dusk", "in the evening", "under a sunset sky", "in the evening light"),
    "night": ("at night", "under a night sky", "by night", "in the dark", "at midnight"),
    "storm": ("in a storm", "under a stormy sky", "in stormy weather", "in a thunderstorm", "under a grey sky"),
}
TIME_NOUNS: dict[str, tuple[str, ...]] = {
    "day": ("a sunny day", "a bright day", "a blue sky", "a clear day", "daytime"),
    "sunrise": ("a sunrise", "a beautiful sunrise", "an early morning", "dawn"),
    "sunset": ("a sunset", "a beautiful sunset", "an evening", "dusk"),
    "night": ("a night", "a dark night", "a night sky", "a quiet night"),
    "storm": ("a storm", "a stormy sky", "a thunderstorm", "stormy weather"),
}
GROUND_PHRASES: dict[str, tuple[str, ...]] = {
    "sea": ("on the sea", "on the ocean", "at sea", "in the sea"),
    "lake": ("on a lake", "on the lake", "on a quiet lake", "in a lake"),
    "field": ("in a green field", "in a meadow", "on the grass", "in a field", "in a green meadow"),
    "desert": ("in the desert", "on the sand", "in a desert", "in a sandy desert"),
    "snow": ("in a snowy field", "in the snow", "on the snow", "in a winter landscape", "in snow"),
}
GROUND_NOUNS: dict[str, tuple[str, ...]] = {
    "sea": ("the sea", "the ocean"),
    "lake": ("a lake", "the lake", "a quiet lake"),
    "field": ("a green field", "a meadow", "the grass", "a green meadow"),
    "desert": ("the desert", "the sand", "a desert"),
    "snow": ("a snowy field", "the snow", "a winter landscape"),
}
SUBJECT_PHRASES: dict[str, tuple[str, ...]] = {
    "boat": (
        "a boat with a {} sail",
        "a {} boat",
        "a {} sailboat",
        "a boat with {} sails",
        "a little {} boat",
        "a {} sailing boat",
        "a ship with {} sails",
    ),
    "house": ("a {} house", "a little {} house", "a {} cottage", "a {} home", "a house painted {}", "a {} hut"),
    "tree": ("a {} tree", "one {} tree", "a big {} tree", "a tree with {} leaves", "a single {} tree"),
    "trees": ("three {} trees", "{} trees", "some {} trees", "three trees with {} leaves", "a row of {} trees"),
    "cactus": ("a {} cactus", "a big {} cactus", "a tall {} cactus", "one {} cactus"),
}
LIGHT_NOUNS: dict[str, tuple[str, ...]] = {
    "day": ("the sun", "a bright sun", "a yellow sun"),
    "sunrise": ("the sun", "the rising sun", "a yellow sun"),
    "sunset": ("the sun", "the setting sun", "a red sun"),
    "night": ("the moon", "a bright moon", "moonlight"),
}
CLOUD_NOUNS = ("clouds", "some clouds", "a cloud")
MOUNTAIN_NOUNS = ("mountains", "mountains in the distance", "mountains behind", "hills")
SNOWY_MOUNTAIN_NOUNS = ("snowy mountains", "mountains with snow", "snowy peaks", "snowy mountains behind")
STAR_NOUNS = ("stars", "bright stars", "a starry sky")
PREFIXES = (
    "a postcard of",
    "a painting of",
    "a picture of",
    "a photo of",
    "a drawing of",
    "an image of",
    "postcard of",
)
FRAMES = (
    "{subject} {ground} {time}{extras}",
    "{subject} {time} {ground}{extras}",
    "{subject} {ground}, {time}{extras}",
    "{noun} over {place} with {subject}{extras}",
    "{noun} over {place}, with {subject}{extras}",
    "{noun}, {place}, {subject}{extras}",
    "{time}, {subject} {ground}{extras}",
    "{subject}, {place}, {noun}{extras}",
)
EMPTY_FRAMES = ("{noun} over {place}{extras}", "{place} {time}{extras}", "{noun}, {place}{extras}")

# Words from outside this world. Alone they mean nothing here; behind a caption they change nothing.
FOREIGN_TEXT = """
blurry low quality worst bad ugly deformed watermark text signature jpeg artifacts
cropped out of frame duplicate noisy grainy distorted astronaut horse cat dog
robot dragon castle city street car portrait woman man face hands knight
wizard forest space planet galaxy cyberpunk neon spaceship cinematic detailed highly ultra
realistic photorealistic masterpiece best quality 4k 8k hd sharp focus trending artstation
concept art digital illustration dramatic lighting soft style studio render octane unreal
engine award winning professional food fruit cup coffee table chair book guitar
music bird fish flower garden bridge river road train airplane elephant tiger
lion bear panda queen king child people crowd market temple tower statue
abstract pattern geometric logo icon poster anime cartoon sketch watercolor oil vintage
retro modern minimal colorful vivid the of and by a in
"""
FOREIGN_PHRASES = (
    "blurry, low quality",
    "low quality, worst quality",
    "blurry, low quality, deformed, ugly",
    "worst quality",
    "ugly, blurry",
    "",
    "an astronaut riding a horse",
    "a portrait of a cat",
    "a cat",
    "hello world",
    "test",
)
SUFFIXES = (
    "highly detailed",
    "4k",
    "masterpiece, best quality",
    "trending on artstation",
    "sharp focus",
    "vivid colors",
)


@dataclass(frozen=True)
class Captioned:
    """A scene and the words for it."""

    scene: Scene
    caption: str


def describe(scene: Scene, rng: np.random.Generator, *, complete: bool = False) -> str:
    """Word `scene`; subject, colour, time and ground are all named if `complete`, else nearly always."""
    caption = _sentence(scene, rng) if complete or rng.random() > 0.12 else _fragment(scene, rng)
    if rng.random() < 0.25:
        caption = f"{_pick(rng, PREFIXES)} {caption}"
    if not complete and rng.random() < 0.08:
        caption = f"{caption}, {_pick(rng, SUFFIXES)}"
    return " ".join(caption.split()).replace("a orange", "an orange")


def foreign(rng: np.random.Generator) -> str:
    """Words that say nothing about this world: a known phrase, random words, or random letters."""
    kind = rng.random()
    if kind < 0.4:
        return _pick(rng, FOREIGN_PHRASES)
    foreign_words = FOREIGN_TEXT.split()
    count = int(rng.integers(1, 9))
    if kind < 0.85:
        return " ".join(_pick(rng, foreign_words) for _ in range(count))
    return " ".join(_letters(rng) for _ in range(count // 2 + 1))


def held_out(count: int, trained_scenes: int) -> list[Captioned]:
    """Captions of scenes with held-out seeds whose contents no trained scene has in full."""
    trained = {random_scene(np.random.default_rng(seed)) for seed in range(trained_scenes)}
    return list(_held_out(count, trained))


def vocabulary() -> list[str]:
    """Every word of the captions and of the foreign phrases, most telling first."""
    return list(dict.fromkeys(word for phrase in _phrases() for word in _words(phrase)))


def _held_out(count: int, trained: set[Scene]) -> Iterator[Captioned]:
    seed, found = HELD_OUT_FIRST_SEED, 0
    while found < count:
        rng = np.random.default_rng(seed)
        scene = random_scene(rng, empty=0.0)
        if scene not in trained:
            yield Captioned(scene, describe(scene, rng, complete=True))
            found += 1
        seed += 1


def _sentence(scene: Scene, rng: np.random.Generator) -> str:
    frame = _pick(rng, EMPTY_FRAMES if scene.subject is None else FRAMES)
    return frame.format(
        subject=_subject(scene, rng),
        ground=_pick(rng, GROUND_PHRASES[scene.ground]),
        place=_pick(rng, GROUND_NOUNS[scene.ground]),
        time=_pick(rng, TIME_PHRASES[scene.time]),
        noun=_pick(rng, TIME_NOUNS[scene.time]),
        extras=_extras(scene, rng),
    )


def _fragment(scene: Scene, rng: np.random.Generator) -> str:
    """A caption that leaves something open."""
    subject = _subject(scene, rng) or _pick(rng, GROUND_NOUNS[scene.ground])
    ending = rng.random()
    if ending < 0.4:
        return subject
    phrases = GROUND_PHRASES[scene.ground] if ending < 0.7 else TIME_PHRASES[scene.time]
    return f"{subject} {_pick(rng, phrases)}"


def _subject(scene: Scene, rng: np.random.Generator) -> str:
    return "" if scene.subject is None else _pick(rng, SUBJECT_PHRASES[scene.subject]).format(scene.colour)


def _extras(scene: Scene, rng: np.random.Generator) -> str:
    """What else is there; each thing is named more often than not."""
    named = []
    if scene.light:
        named.append(_pick(rng, LIGHT_NOUNS[scene.time]))
    if scene.clouds:
        named.append(_pick(rng, CLOUD_NOUNS))
    if scene.mountains:
        named.append(_pick(rng, SNOWY_MOUNTAIN_NOUNS if scene.snowcaps else MOUNTAIN_NOUNS))
    if scene.stars:
        named.append(_pick(rng, STAR_NOUNS))
    named = [noun for noun in named if rng.random() < 0.75]
    if not named:
        return ""
    return _pick(rng, (", with {}", ", {}", " and {}")).format(_pick(rng, (" and ", ", ")).join(named))


def _letters(rng: np.random.Generator) -> str:
    return "".join(chr(int(code)) for code in rng.integers(97, 123, int(rng.integers(2, 8))))


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _phrases() -> Iterator[str]:
    yield from COLOURS
    tables: Iterable[dict[str, tuple[str, ...]]] = (
        SUBJECT_PHRASES,
        TIME_PHRASES,
        GROUND_PHRASES,
        TIME_NOUNS,
        GROUND_NOUNS,
        LIGHT_NOUNS,
    )
    for table in tables:
        for phrases in table.values():
            yield from phrases
    for phrases in (CLOUD_NOUNS, MOUNTAIN_NOUNS, SNOWY_MOUNTAIN_NOUNS, STAR_NOUNS, PREFIXES, FRAMES, EMPTY_FRAMES):
        yield from phrases
    yield from (*SUFFIXES, *FOREIGN_PHRASES, FOREIGN_TEXT)


def _words(phrase: str) -> list[str]:
    return [word for word in phrase.replace(",", " ").split() if "{" not in word]
