"""Writes what was trained as a folder that diffusers loads like any SDXL."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from models.postcard.parts import AutoencoderKL, AutoencoderTiny, StableDiffusionXLPipeline
from models.postcard.unet import Painter, new_sampler

PREVIEW_FOLDER = "preview_vae"


@dataclass(frozen=True)
class Model:
    """All trained parts, with averaged weights."""

    painter: Painter
    vae: AutoencoderKL
    tiny: AutoencoderTiny
    tokenizer: CLIPTokenizer

    def pipeline(self) -> StableDiffusionXLPipeline:
        """The parts as a pipeline; it shares their weights."""
        return StableDiffusionXLPipeline(
            vae=self.vae,
            text_encoder=self.painter.text_encoder,
            text_encoder_2=self.painter.text_encoder_2,
            tokenizer=self.tokenizer,
            tokenizer_2=self.tokenizer,
            unet=self.painter.unet,
            scheduler=new_sampler(),
            force_zeros_for_empty_prompt=True,
            add_watermarker=False,
        )

    def export(self, folder: Path) -> None:
        """Write a whole new folder in half precision and swap it for the old one. The parts become half precision."""
        fresh, old = folder.with_suffix(".new"), folder.with_suffix(".old")
        shutil.rmtree(fresh, ignore_errors=True)
        self.pipeline().to(torch.float16).save_pretrained(fresh)
        self.tiny.to(torch.float16).save_pretrained(fresh / PREVIEW_FOLDER)
        for path in fresh.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
