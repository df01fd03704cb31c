"""Pictures about the training: loss curves, reconstructions, samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from models.postcard.draw import picture
from models.postcard.export import Model
from models.postcard.latents import encode, to_unet_space
from models.postcard.parts import StableDiffusionXLPipeline
from models.postcard.vae import to_pictures, to_tensor
from models.postcard.world import HELD_OUT_FIRST_SEED

CURVE_SIZE = (640, 240)
CURVE_COLOURS = {"vae": (40, 90, 200), "tiny": (40, 150, 80), "unet": (210, 70, 40)}
PROMPTS = (
    "a red house in a green field under a blue sky, with clouds",
    "a beautiful sunset over the sea, with a boat with a blue sail",
    "a yellow boat on a lake at night, with stars",
    "three pink trees in the snow at sunrise",
    "a green cactus in the desert by day",
    "a white house in the snow in a storm",
    "a black tree in a meadow at dusk, with mountains",
    "an orange boat on the ocean at dawn, with snowy mountains",
)


def loss_curves(work: Path, target: Path) -> None:
    """Draw each stage's loss (log scale, moving average) over its steps."""
    panels = [
        _curve(path, CURVE_COLOURS[path.stem]) for path in sorted(work.glob("*.csv")) if path.stem in CURVE_COLOURS
    ]
    if panels:
        Image.fromarray(np.concatenate(panels)).save(target)


def reconstructions(model: Model, target: Path, count: int = 6) -> None:
    """Held-out pictures, what the codec makes of them, what the preview decoder makes of the same latents."""
    drawn = np.stack([picture(HELD_OUT_FIRST_SEED + index)[1] for index in range(count)])
    latents = encode(model.vae, to_tensor(drawn))
    with torch.no_grad():
        full = to_pictures(model.vae.decode(latents).sample)
        tiny = to_pictures(model.tiny.decode(to_unet_space(model.vae, latents)).sample)
    Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in (drawn, full, tiny)])).save(target)


def samples(pipeline: StableDiffusionXLPipeline, target: Path, steps: int = 20) -> None:
    """One picture for each of `PROMPTS`, in rows of four."""
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(PROMPTS))]
    images = pipeline(list(PROMPTS), num_inference_steps=steps, generator=generators, output_type="np").images
    tiles = (np.asarray(images) * 255).round().astype(np.uint8)
    Image.fromarray(np.concatenate([np.concatenate(list(tiles[row : row + 4]), 1) for row in (0, 4)])).save(target)


def _curve(log: Path, colour: tuple[int, int, int]) -> np.ndarray:
    steps, losses = np.loadtxt(log, delimiter=",", ndmin=2).T
    window = max(1, len(losses) // 200)
    smooth = np.log10(np.convolve(losses, np.ones(window) / window, "valid"))
    width, height = CURVE_SIZE
    xs = np.linspace(60, width - 20, len(smooth))
    low, high = float(smooth.min()), float(smooth.max()) + 1e-6
    ys = height - 40 - (smooth - low) / (high - low) * (height - 70)
    image = Image.new("RGB", CURVE_SIZE, "white")
    pen = ImageDraw.Draw(image)
    pen.line([*zip(xs.tolist(), ys.tolist(), strict=True)], colour, 2)
    pen.text((60, 8), f"{log.stem}: loss over {int(steps[-1])} steps", "black")
    pen.text((8, 24), f"{10**high:.3g}", "black")
    pen.text((8, height - 46), f"{10**low:.3g}", "black")
    return np.asarray(image)
