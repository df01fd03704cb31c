"""The preview decoder: a tiny VAE that turns all rows due a preview into pixels at once."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from scheduler.engine import LoadError
from scheduler.request import GenerateParams
from scheduler.sdxl.decode import Decoded, decode, lay_out
from scheduler.sdxl.untyped import TinyVae

HUB_PREVIEW_MODEL = "madebyollin/taesdxl"
PREVIEW_SUBFOLDER = "preview_vae"
MAX_HALVINGS = 2


class PreviewDecoder:
    """The tiny VAE, and smaller ones made of it: without its last upsampling, and without its last two.

    So a small preview costs less: a half takes half the time, a quarter a quarter. To shrink the latents instead would
    cost less still, but shrunk latents mean something else. Against the full preview shrunk by Pillow, halves of
    Postcard are at 30 to 38 dB, with shrunk latents at 23 to 28; quarters at 23 to 30, and 17 to 24. For photographs
    and the tiny VAE of FLUX.2, halves are at 32 to 38 dB, and 21 to 23; quarters at 28 to 30, and 16 to 19.
    """

    def __init__(self, tiny_vae: TinyVae) -> None:
        lay_out(tiny_vae)
        num_smaller = min(MAX_HALVINGS, len(_upsamplings(tiny_vae)))
        self.decoders = [tiny_vae, *(_smaller(tiny_vae, times) for times in range(1, num_smaller + 1))]

    def num_halvings(self, params: GenerateParams) -> int:
        """How often a preview's sides may be halved without being smaller than asked for."""
        longest = max(params.width, params.height)
        fitting = [times for times in range(len(self.decoders)) if longest >> times >= params.preview_size]
        return max(fitting, default=0)

    def decode(self, x0: Tensor, num_halvings: int) -> Decoded:
        """[n, 4, h/8, w/8] fp32 x0 latents -> pixels [n, h, w, 3], both sides halved as often as told."""
        return decode(self.decoders[num_halvings], x0)


def _upsamplings(tiny_vae: TinyVae) -> list[int]:
    """Where among the decoder's layers the picture's sides double."""
    layers = enumerate(tiny_vae.decoder.layers)
    return [index for index, layer in layers if isinstance(layer, nn.Upsample) and layer.scale_factor == 2]


def _smaller(tiny_vae: TinyVae, times: int) -> TinyVae:
    """The same decoder, its weights shared, without its last upsamplings."""
    weights = {id(weight): weight for weight in tiny_vae.parameters()}
    smaller = copy.deepcopy(tiny_vae, weights)
    for index in _upsamplings(tiny_vae)[-times:]:
        smaller.decoder.layers[index] = nn.Identity()
    return smaller


def find_preview_model(model: str, preview_model: str | None) -> tuple[str, str | None]:
    """Where the tiny VAE is: folder or hub id, and subfolder."""
    if preview_model is not None:
        return preview_model, None
    if (Path(model) / PREVIEW_SUBFOLDER).is_dir():
        return model, PREVIEW_SUBFOLDER
    if Path(model).is_dir():
        raise LoadError(
            f"the model {model} has no preview decoder: give one with --preview-model, for SDXL {HUB_PREVIEW_MODEL}"
        )
    return HUB_PREVIEW_MODEL, None


def check_fit(tiny_vae: TinyVae, num_channels: int, scale_factor: int) -> str | None:
    """Why the tiny VAE cannot read a model's latents, None if it can."""
    channels = tiny_vae.config.latent_channels
    if channels != num_channels:
        return f"it reads latents of {channels} channels, the model's have {num_channels}"
    with torch.inference_mode():
        decoded = tiny_vae.decode(torch.zeros(1, channels, 8, 8, dtype=tiny_vae.dtype, device=tiny_vae.device)).sample
    if decoded.shape[-1] != 8 * scale_factor:
        return f"it enlarges latents {decoded.shape[-1] // 8} times, the model's VAE {scale_factor} times"
    return None
