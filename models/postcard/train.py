"""Train Postcard from nothing: `python models/postcard/train.py`.

Stops after `--minutes` (or at Ctrl-C) and goes on from its checkpoints when called again; the result is the same.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to run as a script, from any folder

from models.postcard.captions import vocabulary
from models.postcard.export import Model
from models.postcard.latents import LatentStore, set_statistics
from models.postcard.recipe import Recipe
from models.postcard.sheets import loss_curves, reconstructions, samples
from models.postcard.tiny import TinyStage
from models.postcard.tokenizer import new_tokenizer
from models.postcard.training import Clock, averaged, run_stage
from models.postcard.unet import UnetStage
from models.postcard.vae import VaeStage

HERE = Path(__file__).resolve().parent


@dataclass
class Training:
    """The stages in order. Each property builds on the averaged weights of the stage before."""

    recipe: Recipe
    work: Path
    clock: Clock
    device: torch.device

    def run(self) -> bool:
        """Do what is left to do in this time slice -> whether everything is trained."""
        vae_stage = VaeStage(self.recipe, self.device)
        if not run_stage(vae_stage, self.work, self.clock):
            return False
        store = self.store(vae_stage)
        tiny_size = (self.recipe.square_latents[-1][0],) * 2
        if not store.fill(tiny_size, self.clock):
            return False
        if not run_stage(TinyStage(self.recipe, store, self.device), self.work, self.clock):
            return False
        sizes = dict.fromkeys(size for phase in self.recipe.unet_phases for size in phase.sizes)
        if not all(store.fill(size, self.clock) for size in sizes):
            return False
        return run_stage(self.unet_stage(store), self.work, self.clock)

    def store(self, vae_stage: VaeStage) -> LatentStore:
        """The latents of the trained codec."""
        averaged(vae_stage, self.work)
        vae = vae_stage.network.eval().requires_grad_(False)
        set_statistics(vae, self.recipe.latent_statistics, self.work / "statistics.json")
        return LatentStore(self.recipe, vae, self.work)

    def unet_stage(self, store: LatentStore) -> UnetStage:
        """The painter's stage, with a vocabulary of the captions' words."""
        return UnetStage(self.recipe, store, new_tokenizer(vocabulary()), self.device)

    def model(self) -> Model:
        """The averaged weights of all stages, as far as they are trained."""
        store = self.store(VaeStage(self.recipe, self.device))
        tiny, unet = TinyStage(self.recipe, store, self.device), self.unet_stage(store)
        steps = averaged(tiny, self.work), averaged(unet, self.work)
        print(f"exporting the preview decoder at step {steps[0]}, the UNet at step {steps[1]}")
        return Model(unet.network.eval().cpu(), store.vae.cpu(), tiny.network.eval().cpu(), unet.tokenizer)


def publish(training: Training, weights: Path, sheets: Path) -> None:
    """Draw the sheets and export the model."""
    sheets.mkdir(parents=True, exist_ok=True)
    model = training.model()
    loss_curves(training.work, sheets / "loss.png")
    reconstructions(model, sheets / "reconstructions.png")
    samples(model.pipeline(), sheets / "samples.png")
    model.export(weights)
    print(f"wrote {weights} and {sheets}")


def main() -> None:
    """Parse the command line and train."""
    args = _parser().parse_args()
    recipe, home = (Recipe.toy(), Path(tempfile.gettempdir()) / "postcard-toy") if args.toy else (Recipe(), HERE)
    work = args.work or home / "work"
    work.mkdir(parents=True, exist_ok=True)
    clock = Clock(args.minutes, args.pause_file or work / "PAUSE")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, clock.stop)
    training = Training(recipe, work, clock, torch.device(args.device))
    if args.export_only or training.run():
        publish(training, args.weights or home / "weights", args.sheets or home / "samples")
    else:
        print("time is up; call again to go on")


def _parser() -> argparse.ArgumentParser:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, help="length of this time slice; without it, to the end")
    parser.add_argument("--device", default=device, help=f"where to train (here: {device})")
    parser.add_argument("--work", type=Path, help="folder of checkpoints and latents (work/ beside this script)")
    parser.add_argument("--weights", type=Path, help="folder the model is exported to (weights/ beside this script)")
    parser.add_argument("--sheets", type=Path, help="folder of the PNG sheets (samples/ beside this script)")
    parser.add_argument("--pause-file", type=Path, help="training waits while this file exists (PAUSE in --work)")
    parser.add_argument("--export-only", action="store_true", help="export the checkpoints as they are, train nothing")
    parser.add_argument("--toy", action="store_true", help="try the script in seconds, in a temporary folder")
    return parser


if __name__ == "__main__":
    main()
