"""The small world Postcard paints: what may stand in a picture, and in which colours.

Every table here is shared by the drawing code, the captions and the judge, so that all three mean the same by "sunset".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Rgb = tuple[int, int, int]

COLOURS: dict[str, Rgb] = {
    "red": (215, 35, 35),
    "orange": (246, 130, 20),
    "yellow": (250, 222, 40),
    "green": (25, 140, 60),
    "blue": (35, 70, 215),
    "purple": (130, 45, 170),
    "pink": (250, 130, 190),
    "white": (248, 248, 248),
    "black": (25, 25, 28),
}

# Sky colour at the top of the picture and just above the horizon.
SKIES: dict[str, tuple[Rgb, Rgb]] = {
    "day": ((70, 140, 235), (190, 225, 250)),
    "sunrise": ((160, 150, 225), (255, 222, 178)),
    "sunset": ((105, 45, 120), (255, 158, 105)),
    "night": ((10, 14, 50), (40, 50, 105)),
    "storm": ((70, 76, 88), (134, 140, 150)),
}

# How the time of day colours the ground, and (more gently) the subject.
GROUND_TINTS: dict[str, tuple[float, float, float]] = {
    "day": (1.0, 1.0, 1.0),
    "sunrise": (1.0, 0.93, 0.92),
    "sunset": (0.95, 0.78, 0.74),
    "night": (0.48, 0.52, 0.68),
    "storm": (0.72, 0.73, 0.75),
}
SUBJECT_TINTS: dict[str, float] = {"day": 1.0, "sunrise": 1.0, "sunset": 0.95, "night": 0.82, "storm": 0.9}

GROUNDS: dict[str, Rgb] = {
    "sea": (25, 100, 165),
    "lake": (70, 165, 205),
    "field": (105, 180, 65),
    "desert": (236, 196, 120),
    "snow": (232, 240, 250),
}
BANK: Rgb = (85, 150, 60)  # the grass around a lake
WATER_REFLECTION = 0.3  # share of the low sky's colour in water

SUBJECTS: dict[str, tuple[str, ...]] = {
    "sea": ("boat",),
    "lake": ("boat",),
    "field": ("house", "tree", "trees"),
    "desert": ("cactus", "house", "tree", "trees"),
    "snow": ("house", "tree", "trees"),
}
LIGHTS: dict[str, str | None] = {"day": "sun", "sunrise": "sun", "sunset": "sun", "night": "moon", "storm": None}

HELD_OUT_FIRST_SEED = 1_000_000  # scenes with this seed or a later one are never trained on


@dataclass(frozen=True)
class Scene:
    """What one picture shows. `subject` and `colour` are None together: an empty landscape."""

    time: str
    ground: str
    subject: str | None
    colour: str | None
    light: bool
    stars: bool
    clouds: int
    mountains: bool
    snowcaps: bool


def random_scene(rng: np.random.Generator, *, empty: float = 0.06) -> Scene:
    """Draw the contents of a scene; a share `empty` of them has no subject."""
    time = str(rng.choice(list(SKIES)))
    ground = str(rng.choice(list(GROUNDS)))
    bare = rng.random() < empty
    mountains = rng.random() < 0.4
    return Scene(
        time=time,
        ground=ground,
        subject=None if bare else str(rng.choice(SUBJECTS[ground])),
        colour=None if bare else str(rng.choice(list(COLOURS))),
        light=LIGHTS[time] is not None and rng.random() < 0.75,
        stars=time == "night" and rng.random() < 0.6,
        clouds=int(rng.integers(1, 4)) if rng.random() < (0.75 if time == "storm" else 0.4) else 0,
        mountains=mountains,
        snowcaps=mountains and rng.random() < 0.5,
    )


def ground_colours(ground: str, time: str) -> tuple[np.ndarray, np.ndarray]:
    """Colours of the middle ground and of the nearest strip -> two [3] float arrays in 0..255."""
    tint = np.array(GROUND_TINTS[time])
    base = np.array(GROUNDS[ground], dtype=np.float64) * tint
    if ground in ("sea", "lake"):
        base = (1 - WATER_REFLECTION) * base + WATER_REFLECTION * np.array(SKIES[time][1])
    near = np.array(BANK, dtype=np.float64) * tint if ground == "lake" else base
    return base, near


def subject_colour(colour: str, time: str) -> np.ndarray:
    """Colour of a subject in the light of `time` -> [3] float array in 0..255."""
    return np.array(COLOURS[colour], dtype=np.float64) * SUBJECT_TINTS[time]
