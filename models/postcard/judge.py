"""Looks at the pixels of a picture and says what time of day, what ground and what colour of subject it shows.

No learning: each zone's median colour is compared with the colours that the drawing code uses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.postcard.draw import HORIZON
from models.postcard.world import COLOURS, GROUNDS, SKIES, Scene, ground_colours, subject_colour

Box = tuple[float, float, float, float]  # left, top, right, bottom; units of the shorter side from the horizon's middle

# Where each kind of subject shows its colour, wherever exactly it stands.
CORES: dict[str, tuple[Box, ...]] = {
    "boat": ((-0.1, -0.1, 0.1, 0.03),),
    "house": ((-0.06, -0.06, 0.07, 0.09),),
    "tree": ((-0.08, -0.22, 0.08, -0.07),),
    "trees": ((-0.31, -0.12, -0.19, -0.02), (-0.06, -0.12, 0.06, -0.02), (0.19, -0.12, 0.31, -0.02)),
    "cactus": ((-0.05, -0.24, 0.05, 0.06),),
}
BESIDE = (0.43, 0.5)  # where no subject reaches, on both sides
DIFFERS = 22.0  # distance in RGB from the row's background at which a pixel belongs to the subject
RESEMBLES = 80.0  # distance in RGB within which a pixel may count as a palette colour
LEAST_SHARE = 0.12  # share of the core that must be one palette colour


@dataclass(frozen=True)
class Verdict:
    """What a picture shows. `colour` is None if no subject of any colour stands out."""

    time: str
    ground: str
    colour: str | None

    def agrees(self, scene: Scene) -> bool:
        """Whether the picture shows `scene`."""
        colour_fits = scene.subject is None or self.colour == scene.colour
        return self.time == scene.time and self.ground == scene.ground and colour_fits


def judge(picture: np.ndarray, subject: str | None) -> Verdict:
    """Judge a picture [h, w, 3] uint8; `subject` says where to look for the colour, not which one to find."""
    view = _View(picture.astype(np.float64))
    time = _time(view)
    return Verdict(time, _ground(view, time), None if subject is None else _colour(view, subject, time))


class _View:
    """A picture addressed in the drawing code's units."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]
        self.unit = min(self.height, self.width)
        self.horizon = HORIZON * self.height

    def box(self, box: Box) -> np.ndarray:
        """-> [rows, columns, 3]."""
        left, right = (self._clip(self.width / 2 + x * self.unit, self.width) for x in (box[0], box[2]))
        top, bottom = (self._clip(self.horizon + y * self.unit, self.height) for y in (box[1], box[3]))
        return self.pixels[top : max(bottom, top + 1), left : max(right, left + 1)]

    def sides(self, top: float, bottom: float) -> np.ndarray:
        """Both outer quarters between two shares of the height -> [pixels, 3]."""
        rows = self.pixels[int(top * self.height) : max(int(bottom * self.height), int(top * self.height) + 1)]
        quarter = self.width // 4
        return np.concatenate([rows[:, :quarter].reshape(-1, 3), rows[:, -quarter:].reshape(-1, 3)])

    @staticmethod
    def _clip(value: float, limit: int) -> int:
        return int(min(max(value, 0), limit - 1))


def _time(view: _View) -> str:
    high, middle = np.median(view.sides(0.02, 0.1), 0), np.median(view.sides(0.26, 0.34), 0)

    def distance(time: str) -> float:
        top, low = (np.array(rgb, dtype=np.float64) for rgb in SKIES[time])
        return _distance(high, top + 0.1 * (low - top)) + _distance(middle, (top + low) / 2)

    return min(SKIES, key=distance)


def _ground(view: _View, time: str) -> str:
    start, nearest = HORIZON + 0.08 * view.unit / view.height, 1 - 0.05 * view.unit / view.height
    middle = np.median(view.sides(start, start + 0.1 * view.unit / view.height), 0)
    near = np.median(view.sides(nearest, 1), 0)

    def distance(ground: str) -> float:
        base, front = ground_colours(ground, time)
        return _distance(middle, base) + _distance(near, front)

    return min(GROUNDS, key=distance)


def _colour(view: _View, subject: str, time: str) -> str | None:
    names = list(COLOURS)
    palette = np.stack([subject_colour(name, time) for name in names])
    votes, size = np.zeros(len(names)), 0
    for box in CORES[subject]:
        pixels = view.box(box)
        distances = np.linalg.norm(pixels[:, :, None] - palette, axis=-1)
        counted = _stands_out(view, box, pixels) & (distances.min(-1) < RESEMBLES)
        votes += np.bincount(distances.argmin(-1)[counted], minlength=len(names))
        size += counted.size
    winner = int(votes.argmax())
    return names[winner] if votes[winner] >= LEAST_SHARE * size else None


def _stands_out(view: _View, box: Box, pixels: np.ndarray) -> np.ndarray:
    """Which pixels of `box` differ from what lies left and right of the subject in their row -> [rows, columns]."""
    differs = np.ones(pixels.shape[:2], dtype=bool)
    for left, right in (BESIDE, (-BESIDE[1], -BESIDE[0])):
        background = np.median(view.box((left, box[1], right, box[3])), axis=1)
        differs &= np.linalg.norm(pixels - background[:, None], axis=-1) > DIFFERS
    return differs


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other))
