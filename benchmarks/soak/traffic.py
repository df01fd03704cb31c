"""Mixed traffic: every request draws its kind and its options by seed, so that every run asks for the same."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from benchmarks.workload import Workload
from scheduler.request import SAMPLERS

Kind = Literal["watch", "vanish", "run", "create", "delete", "invalid"]

KINDS: Mapping[Kind, int] = {"watch": 40, "vanish": 15, "run": 10, "create": 15, "delete": 15, "invalid": 5}
"""Of 100 requests how many are streamed to their end, left in mid-stream, waited for without a stream, created and
looked after, created and cancelled, and wrong."""

SIDES = (0.75, 1.0, 1.25)
OPTIONS: Mapping[str, Sequence[Any]] = {
    "num_inference_steps": (4, 8, 12, 20),
    "guidance_scale": (0.0, 1.5, 5.0, 7.5),
    "guidance_rescale": (0.0, 0.0, 0.7),
    "sampler": (None, *SAMPLERS),
    "num_images": (1, 1, 1, 1, 2, 3),
    "negative_prompt": ("blurry, low quality", "", None),
    "preview_every": (0, 1, 3, 5),
    "preview_interval_ms": (0, 0, 500),
    "preview_size": (64, 128, 512),
    "preview_format": ("jpeg", "webp"),
    "image_format": ("jpeg", "jpeg", "webp", "png"),
    "priority": (-5, 0, 0, 0, 5),
    "deadline_ms": (*(None,) * 18, 1500, 8000),
}
"""Each field draws one of its values."""

LONG_PROMPT = "a very long prompt about " + "many trees, " * 60

WRONG: Sequence[Mapping[str, Any]] = (
    {"prompt": ""},
    {"width": 100.5},
    {"num_inference_steps": 0},
    {"guidance_scale": 100},
    {"sampler": "none of them"},
    {"no_such_field": 1},
)
TOO_LARGE = b'{"prompt": "' + b"x" * 70_000 + b'"}'


@dataclass(frozen=True, slots=True)
class Order:
    """One request to make. `patience`: how many events a client reads before it leaves, or deciseconds to a DELETE."""

    index: int
    kind: Kind
    body: bytes
    content_type: str
    patience: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """`size` is the model's own, in pixels; every side is a multiple of `multiple`."""

    size: int
    multiple: int
    seed: int = 0

    def order(self, index: int) -> Order:
        rng = random.Random(f"{self.seed}:{index}")
        (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
        body = msgspec.json.encode(self._body(index, rng))
        content_type = "application/json"
        if kind == "invalid":
            body, content_type = self._wrong(index, rng)
        return Order(index, kind, body, content_type, patience=rng.randrange(6))

    def _body(self, index: int, rng: random.Random) -> dict[str, Any]:
        options = {name: rng.choice(values) for name, values in OPTIONS.items()}
        prompt = LONG_PROMPT if rng.random() < 0.02 else Workload(seed=self.seed).body(index)["prompt"]
        return {"prompt": prompt, "seed": index, "width": self._side(rng), "height": self._side(rng), **options}

    def _side(self, rng: random.Random) -> int:
        return int(self.size * rng.choice(SIDES)) // self.multiple * self.multiple

    def _wrong(self, index: int, rng: random.Random) -> tuple[bytes, str]:
        good = self._body(index, rng)
        bodies = [(msgspec.json.encode({**good, **wrong}), "application/json") for wrong in WRONG]
        others = [
            (b"{", "application/json"),
            (TOO_LARGE, "application/json"),
            (msgspec.json.encode(good), "text/plain"),
        ]
        return rng.choice(bodies + others)
