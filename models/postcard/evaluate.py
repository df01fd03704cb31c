"""Measure a Postcard against its bar: `python models/postcard/evaluate.py`.

The judge is proven on drawn pictures first; then the model paints held-out captions and the same judge looks at them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.postcard.parts import AutoencoderTiny, StableDiffusionXLPipeline

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to run as a script, from any folder

from models.postcard.captions import Captioned, held_out
from models.postcard.draw import picture
from models.postcard.export import PREVIEW_FOLDER
from models.postcard.judge import Verdict, judge
from models.postcard.latents import to_unet_space
from models.postcard.recipe import Recipe
from models.postcard.vae import psnr, to_tensor
from models.postcard.world import HELD_OUT_FIRST_SEED

WEIGHTS = Path(__file__).resolve().parent / "weights"
OTHER_SIZES = ((192, 192), (320, 320), (320, 192), (192, 320))  # width, height
MEGABYTE = 1e6


@dataclass(frozen=True)
class Row:
    """One line of the table. `bar` is text; `passed` is None where there is no bar."""

    what: str
    measured: float
    unit: str
    bar: str = ""
    passed: bool | None = None


@dataclass
class Evaluation:
    """One loaded model and what to measure on it."""

    pipeline: StableDiffusionXLPipeline
    tiny: AutoencoderTiny
    weights: Path
    captions: int
    batch: int
    guidance: float = 5.0

    def rows(self, *, speed: bool) -> Iterable[Row]:
        """Measure, line by line."""
        yield at_least("judge right on drawn pictures", prove_judge(), "%", 99)
        yield at_most("weights", weight_bytes(self.weights) / MEGABYTE, "MB", 25)
        yield from self.reconstruction()
        yield at_most("preview decoder at 256x256", self.tiny_gigaflops(), "GFLOP", 1)
        yield from self.meaning("20 steps", 20, 95, self.captions)
        yield from self.meaning("8 steps", 8, 90, self.captions)
        for width, height in OTHER_SIZES:
            shown = self.paint_and_judge(max(8, self.captions // 8), 20, width, height)
            yield Row(f"all right at {width}x{height}, 20 steps", share(shown, Verdict.agrees), "%")
        if speed:
            yield from self.speed()

    def meaning(self, label: str, steps: int, bar: float, count: int) -> Iterable[Row]:
        """Paint held-out captions at 256x256 and judge each in three respects."""
        shown = self.paint_and_judge(count, steps, 256, 256)
        yield at_least(f"all right, {label}", share(shown, Verdict.agrees), "%", bar)
        yield Row(f"  subject colour, {label}", share(shown, lambda seen, asked: seen.colour == asked.colour), "%")
        yield Row(f"  time of day, {label}", share(shown, lambda seen, asked: seen.time == asked.time), "%")
        yield Row(f"  ground, {label}", share(shown, lambda seen, asked: seen.ground == asked.ground), "%")

    def paint_and_judge(self, count: int, steps: int, width: int, height: int) -> list[tuple[Verdict, Captioned]]:
        """Verdicts on `count` held-out captions, painted with seeds 0, 1, ..."""
        shown: list[tuple[Verdict, Captioned]] = []
        captions = held_out(count, max(number for _, number in Recipe().square_latents))
        for start in range(0, count, self.batch):
            part = captions[start : start + self.batch]
            generators = [torch.Generator().manual_seed(start + offset) for offset in range(len(part))]
            images = self.paint([each.caption for each in part], generators, steps, width, height)
            shown += [(judge(image, each.scene.subject), each) for image, each in zip(images, part, strict=True)]
        return shown

    def paint(
        self, prompts: list[str], generators: list[torch.Generator], steps: int, width: int, height: int
    ) -> np.ndarray:
        """-> [n, height, width, 3] uint8."""
        output = self.pipeline(
            prompts,
            num_inference_steps=steps,
            guidance_scale=self.guidance,
            width=width,
            height=height,
            generator=generators,
            output_type="np",
        )
        return (np.asarray(output.images) * 255).round().astype(np.uint8)

    @torch.no_grad()
    def reconstruction(self, count: int = 64) -> Iterable[Row]:
        """How well both decoders give back held-out pictures."""
        vae, dtype = self.pipeline.vae, self.pipeline.vae.dtype
        full, tiny = [], []
        for seed in range(HELD_OUT_FIRST_SEED, HELD_OUT_FIRST_SEED + count):
            image = to_tensor(picture(seed)[1][None])
            latents = vae.encode(image.to(vae.device, dtype)).latent_dist.mode()
            full.append(psnr(vae.decode(latents).sample.float().cpu(), image))
            tiny.append(psnr(self.tiny.decode(to_unet_space(vae, latents)).sample.float().cpu(), image))
        yield at_least("reconstruction by the codec", float(np.mean(full)), "dB", 28)
        yield at_least("reconstruction by the preview decoder", float(np.mean(tiny)), "dB", 24)

    def tiny_gigaflops(self) -> float:
        """Operations (two a multiply-add) to decode 256x256 pixels."""
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.tiny.decode(self._latents(1))
        return float(counter.get_total_flops()) / 1e9

    @torch.no_grad()
    def speed(self) -> Iterable[Row]:
        """Wall time, best of some tries after a warm-up, on this machine as it is."""
        latents = self._latents(1)
        full = best_time(lambda: self.pipeline.vae.decode(latents), 10)
        tiny = best_time(lambda: self.tiny.decode(latents), 10)
        yield Row("decode 256x256, codec", full * 1000, "ms")
        yield Row("decode 256x256, preview decoder", tiny * 1000, "ms")
        yield at_least("preview decoder faster than the codec", full / tiny, "x", 5)
        yield at_most("one image, 20 steps", self._paint_time(1), "s", 3)
        yield at_most("eight images at once, 20 steps", self._paint_time(8), "s", 10)

    def _paint_time(self, number: int) -> float:
        prompts = ["a red boat on the sea at sunset"] * number
        generators = [torch.Generator().manual_seed(seed) for seed in range(number)]
        return best_time(lambda: self.paint(prompts, generators, 20, 256, 256), 2)

    def _latents(self, number: int) -> torch.Tensor:
        return torch.randn(number, 4, 32, 32).to(self.tiny.device, self.tiny.dtype)


def prove_judge(count: int = 400) -> float:
    """Share in % of held-out drawn pictures that the judge reads right."""
    right = 0
    for seed in range(HELD_OUT_FIRST_SEED, HELD_OUT_FIRST_SEED + count):
        scene, pixels = picture(seed)
        right += judge(pixels, scene.subject).agrees(scene)
    return 100 * right / count


def share(shown: list[tuple[Verdict, Captioned]], right: Callable[..., bool]) -> float:
    """Share in % of verdicts that are right."""
    return 100 * sum(right(verdict, each.scene) for verdict, each in shown) / len(shown)


def weight_bytes(folder: Path) -> int:
    """Size of all weight files."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def best_time(work: Callable[[], object], tries: int) -> float:
    """Seconds of the fastest of `tries` calls, after one that warms up."""
    work()
    times = []
    for _ in range(tries):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def at_least(what: str, measured: float, unit: str, bar: float) -> Row:
    """A line that passes at `bar` or above."""
    return Row(what, measured, unit, f">= {bar:g}", measured >= bar)


def at_most(what: str, measured: float, unit: str, bar: float) -> Row:
    """A line that passes at `bar` or below."""
    return Row(what, measured, unit, f"<= {bar:g}", measured <= bar)


def main() -> None:
    """Print the table, or JSON."""
    args = _parser().parse_args()
    dtype = getattr(torch, args.dtype)
    pipeline = StableDiffusionXLPipeline.from_pretrained(args.weights, dtype=dtype).to(args.device)
    pipeline.set_progress_bar_config(disable=True)
    tiny = AutoencoderTiny.from_pretrained(args.weights / PREVIEW_FOLDER, dtype=dtype).to(args.device)
    rows = []
    evaluation = Evaluation(pipeline, tiny, args.weights, args.captions, args.batch, args.guidance)
    for row in evaluation.rows(speed=args.speed):
        rows.append(row)
        if not args.json:
            verdict = {True: "yes", False: "NO", None: ""}[row.passed]
            print(f"{row.what:44} {row.measured:9.2f} {row.unit:6} {row.bar:8} {verdict}", flush=True)
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="an exported model")
    parser.add_argument("--captions", type=int, default=200, help="held-out captions to paint")
    parser.add_argument("--batch", type=int, default=8, help="captions painted at once")
    parser.add_argument("--guidance", type=float, default=5.0, help="guidance scale")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--no-speed", dest="speed", action="store_false", help="leave the timings out")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


if __name__ == "__main__":
    main()
