"""Draws the pictures Postcard is trained on: any number, any size, the same for the same seed."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from models.postcard.world import BANK, GROUND_TINTS, SKIES, Scene, ground_colours, random_scene, subject_colour

OVERSAMPLING = 2  # drawn this much larger, then averaged: smooth edges
HORIZON = 0.6  # height of the horizon, as a share of the picture
OUTLINE = (40, 34, 40)

Points = list[tuple[float, float]]
Colour = tuple[int, int, int]


def picture(seed: int, width: int = 256, height: int = 256) -> tuple[Scene, np.ndarray]:
    """Scene number `seed` and its picture -> Scene, [height, width, 3] uint8."""
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    return scene, draw_scene(scene, rng, width, height)


def draw_scene(scene: Scene, rng: np.random.Generator, width: int = 256, height: int = 256) -> np.ndarray:
    """Paint `scene`, with `rng` for all that it leaves open -> [height, width, 3] uint8."""
    canvas = _Canvas(scene, rng, width * OVERSAMPLING, height * OVERSAMPLING)
    canvas.paint()
    return np.array(canvas.image.reduce(OVERSAMPLING))


class _Canvas:
    """One picture in the making. Lengths are in units of the shorter side, positions from the horizon's middle."""

    def __init__(self, scene: Scene, rng: np.random.Generator, width: int, height: int) -> None:
        self.scene, self.rng = scene, rng
        self.width, self.height = width, height
        self.unit = min(width, height)
        self.horizon = height * (HORIZON + rng.uniform(-0.02, 0.02))
        self.half_width = width / 2 / self.unit
        self.sky_height = self.horizon / self.unit
        self.image = Image.fromarray(self._sky())
        self.pen = ImageDraw.Draw(self.image)

    def paint(self) -> None:
        """Back to front."""
        if self.scene.stars:
            self._stars()
        if self.scene.light:
            self._light()
        self._clouds()
        if self.scene.mountains:
            self._mountains()
        self._ground()
        if self.scene.subject is not None:
            self._subject(self.scene.subject)

    def _sky(self) -> np.ndarray:
        top, low = (np.array(rgb) + self.rng.uniform(-9, 9, 3) for rgb in SKIES[self.scene.time])
        ramp = np.clip(np.arange(self.height) / self.horizon, 0, 1)[:, None]
        rows = np.clip(top + (low - top) * ramp, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(rows[:, None], (self.height, self.width, 3)))

    def _at(self, x: float, y: float) -> tuple[float, float]:
        """Units (y downwards from the horizon) -> pixels."""
        return self.width / 2 + x * self.unit, self.horizon + y * self.unit

    def _polygon(self, points: Points, fill: Colour, outline: bool = False) -> None:
        pixels = [self._at(x, y) for x, y in points]
        self.pen.polygon(pixels, fill=fill)
        if outline:
            self.pen.line([*pixels, pixels[0], pixels[1]], OUTLINE, self._pen_width(), joint="curve")

    def _disc(self, x: float, y: float, rx: float, ry: float, fill: Colour, outline: bool = False) -> None:
        box = [*self._at(x - rx, y - ry), *self._at(x + rx, y + ry)]
        self.pen.ellipse(box, fill, OUTLINE if outline else None, self._pen_width())

    def _pen_width(self) -> int:
        return max(1, round(0.007 * self.unit))

    def _tinted(self, rgb: Colour, jitter: float = 6) -> Colour:
        return _colour(np.array(rgb) * np.array(GROUND_TINTS[self.scene.time]) + self.rng.uniform(-jitter, jitter))

    def _stars(self) -> None:
        for _ in range(int(self.rng.integers(14, 28))):
            x = self.rng.uniform(-self.half_width, self.half_width)
            y = self.rng.uniform(-self.sky_height, -0.2)
            self._disc(x, y, 0.007, 0.007, (245, 240, 215))

    def _light(self) -> None:
        low = self.scene.time in ("sunrise", "sunset")
        side = self.rng.choice([-1, 1])
        x = side * self.half_width * self.rng.uniform(0.55, 0.75)
        y = -self.rng.uniform(0.1, 0.2) if low else -self.sky_height + self.rng.uniform(0.12, 0.2)
        radius = self.rng.uniform(0.06, 0.08)
        if self.scene.time == "night":
            self._disc(x, y, radius, radius, (248, 244, 215))
            if self.rng.random() < 0.5:
                self._disc(x + 0.6 * radius, y - 0.2 * radius, radius * 0.9, radius * 0.9, self._sky_at(y))
            return
        self._disc(x, y, radius, radius, (255, 90, 60) if self.scene.time == "sunset" else (255, 232, 90))

    def _sky_at(self, y: float) -> Colour:
        red, green, blue = np.asarray(self.image)[int(self.horizon + y * self.unit), 0]
        return int(red), int(green), int(blue)

    def _clouds(self) -> None:
        shade = {"day": (250, 250, 252), "sunrise": (255, 240, 235), "sunset": (250, 190, 175), "night": (70, 78, 120)}
        fill = shade.get(self.scene.time, (52, 56, 66))
        for _ in range(self.scene.clouds):
            x = self.rng.uniform(-self.half_width, self.half_width) * 0.8
            y = -self.sky_height + self.rng.uniform(0.1, 0.24)
            for step in (-1, 0, 1):
                radius = self.rng.uniform(0.04, 0.06) * (1.3 if step == 0 else 1)
                self._disc(x + step * 0.075, y, radius * 1.4, radius, fill)
        if self.scene.time == "storm":
            self._lightning()

    def _lightning(self) -> None:
        x = self.rng.choice([-1, 1]) * self.half_width * self.rng.uniform(0.5, 0.7)
        top = -self.sky_height + 0.12
        points = [(x, top), (x + 0.03, top), (x + 0.005, top + 0.1), (x + 0.035, top + 0.1), (x - 0.03, top + 0.24)]
        self._polygon([*points, (x - 0.005, top + 0.13), (x - 0.035, top + 0.13)], (255, 240, 140))

    def _mountains(self) -> None:
        fill = self._tinted((112, 118, 140))
        cap = self._tinted((240, 244, 250))
        x = -self.half_width - self.rng.uniform(0, 0.1)
        while x < self.half_width:
            width, peak = self.rng.uniform(0.3, 0.5), self.rng.uniform(0.14, 0.26)
            self._polygon([(x, 0), (x + width / 2, -peak), (x + width, 0)], fill)
            if self.scene.snowcaps:
                self._polygon(
                    [(x + 0.36 * width, -0.72 * peak), (x + width / 2, -peak), (x + 0.64 * width, -0.72 * peak)], cap
                )
            x += width * 0.7

    def _ground(self) -> None:
        base, near = ground_colours(self.scene.ground, self.scene.time)
        base, near = base + self.rng.uniform(-6, 6, 3), near + self.rng.uniform(-6, 6, 3)
        right, bottom = self.half_width, self.height / self.unit
        self._polygon([(-right, 0), (right, 0), (right, bottom), (-right, bottom)], _colour(base))
        if self.scene.ground in ("sea", "lake"):
            self._waves(_colour(base * 0.82 + 45))
        if self.scene.ground == "lake":
            self._polygon([(-right, 0), (right, 0), (right, 0.025), (-right, 0.025)], self._tinted(BANK))
            self._curve((self.height - self.horizon) / self.unit - 0.085, 0.015, _colour(near))
        elif self.scene.ground in ("field", "desert", "snow"):
            self._curve(0.2, 0.03, _colour(near * 0.93))

    def _curve(self, y: float, swing: float, fill: Colour) -> None:
        """Fill everything below a gentle wave at height `y`."""
        phase, bottom = self.rng.uniform(0, 6.28), self.height / self.unit
        xs = np.linspace(-self.half_width, self.half_width, 17)
        crest = [(float(x), y + swing * float(np.sin(phase + 4 * x))) for x in xs]
        self._polygon([*crest, (self.half_width, bottom), (-self.half_width, bottom)], fill)

    def _waves(self, fill: Colour) -> None:
        for _ in range(int(self.rng.integers(5, 9))):
            x = self.rng.uniform(-self.half_width, self.half_width)
            y = self.rng.uniform(0.06, 0.34)
            length = self.rng.uniform(0.06, 0.14)
            self.pen.line([*self._at(x - length, y), *self._at(x + length, y)], fill, max(2, round(0.01 * self.unit)))

    def _subject(self, subject: str) -> None:
        if self.scene.colour is None:
            raise ValueError(f"a scene with a {subject} needs a colour")
        fill = _colour(subject_colour(self.scene.colour, self.scene.time) + self.rng.uniform(-6, 6, 3))
        x, y = self.rng.uniform(-0.05, 0.05), self.rng.uniform(0.10, 0.13)
        scale = self.rng.uniform(0.92, 1.08)
        if subject == "trees":
            for offset in (-0.25, 0, 0.25):
                self._tree(x + offset, y + self.rng.uniform(-0.01, 0.02), scale * 0.72, fill)
            return
        {"boat": self._boat, "house": self._house, "tree": self._tree, "cactus": self._cactus}[subject](
            x, y, scale, fill
        )

    def _boat(self, x: float, y: float, s: float, fill: Colour) -> None:
        hull = self._tinted((126, 82, 52))
        self._block(x - 0.012 * s, y - 0.4 * s, x + 0.006, y, OUTLINE)
        self._polygon([(x + 0.01, y - 0.39 * s), (x + 0.2 * s, y - 0.06 * s), (x + 0.01, y - 0.06 * s)], fill, True)
        self._polygon([(x - 0.02, y - 0.36 * s), (x - 0.17 * s, y - 0.06 * s), (x - 0.02, y - 0.06 * s)], fill, True)
        deck, keel = y - 0.035 * s, y + 0.05 * s
        edge = [(x - 0.22 * s, deck), (x + 0.24 * s, deck)]
        self._polygon([*edge, (x + 0.15 * s, keel), (x - 0.15 * s, keel)], hull, True)

    def _house(self, x: float, y: float, s: float, fill: Colour) -> None:
        roof = self._tinted(((92, 66, 58), (84, 88, 100), (120, 76, 50))[int(self.rng.integers(3))])
        left, right, eaves = x - 0.19 * s, x + 0.19 * s, y - 0.2 * s
        self._block(left, eaves, right, y, fill, True)
        self._polygon([(left - 0.03 * s, eaves), (x, eaves - 0.15 * s), (right + 0.03 * s, eaves)], roof, True)
        self._block(x + 0.08 * s, y - 0.12 * s, x + 0.15 * s, y, self._tinted((96, 62, 40)))
        glow = (255, 226, 130) if self.scene.time in ("night", "storm") else (214, 232, 245)
        self._block(x - 0.15 * s, y - 0.15 * s, x - 0.07 * s, y - 0.08 * s, glow, True)

    def _tree(self, x: float, y: float, s: float, fill: Colour) -> None:
        self._block(x - 0.02 * s, y - 0.15 * s, x + 0.02 * s, y, self._tinted((110, 74, 46)))
        self._disc(x, y - 0.26 * s, 0.15 * s, 0.165 * s, fill, True)

    def _cactus(self, x: float, y: float, s: float, fill: Colour) -> None:
        half = 0.03 * s  # of an arm's thickness
        for dx, low, high in ((-0.14, 0.13, 0.26), (0.14, 0.16, 0.3)):
            elbow = y - low * s
            self._bar(x + min(dx, 0) * s - half, elbow - half, x + max(dx, 0) * s, elbow + half, fill)
            self._bar(x + dx * s - half, y - high * s, x + dx * s + half, elbow + half, fill)
        self._bar(x - 0.055 * s, y - 0.4 * s, x + 0.055 * s, y + 0.01, fill)

    def _block(self, left: float, top: float, right: float, bottom: float, fill: Colour, outline: bool = False) -> None:
        self._polygon([(left, bottom), (left, top), (right, top), (right, bottom)], fill, outline)

    def _bar(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        box = [*self._at(left, top), *self._at(right, bottom)]
        self.pen.rounded_rectangle(box, 0.03 * self.unit, fill, OUTLINE, self._pen_width())


def _colour(rgb: np.ndarray) -> Colour:
    red, green, blue = (int(value) for value in np.clip(rgb, 0, 255))
    return red, green, blue
