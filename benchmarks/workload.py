"""What the load client asks for: prompts and options drawn by seed, so that every run of a workload is the same."""

import random
from collections.abc import Iterator

import msgspec

COLOURS = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black"]
SUBJECTS = ["a house with a {} roof", "a boat with a {} sail", "a {} house", "a {} tree", "three {} trees"]
GROUNDS = ["by the sea", "on a lake", "in a green field", "in the desert", "in a snowy field"]
SKIES = ["at sunset", "at sunrise", "at night", "under a blue sky", "under clouds"]


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """Each request draws one value of every list. `sizes` are (width, height) in pixels, empty for the model's own."""

    steps: tuple[int, ...] = (20,)
    guidance: tuple[float, ...] = (5.0,)
    sizes: tuple[tuple[int, int], ...] = ()
    preview_every: int = 5
    seed: int = 0

    def body(self, index: int) -> dict[str, str | int | float]:
        """The JSON body of request number `index`."""
        rng = random.Random(f"{self.seed}:{index}")
        subject = rng.choice(SUBJECTS).format(rng.choice(COLOURS))
        body: dict[str, str | int | float] = {
            "prompt": f"{subject} {rng.choice(GROUNDS)} {rng.choice(SKIES)}",
            "num_inference_steps": rng.choice(self.steps),
            "guidance_scale": rng.choice(self.guidance),
            "preview_every": self.preview_every,
            "seed": index,
        }
        if self.sizes:
            body["width"], body["height"] = rng.choice(self.sizes)
        return body


def poisson_arrivals(rate: float, seed: int) -> Iterator[float]:
    """Endless arrival times in seconds from the start, `rate` a second on average, independent of each other."""
    rng = random.Random(seed)
    now = 0.0
    while True:
        now += rng.expovariate(rate)
        yield now
