"""Makes the networks of a model ready for the shapes that matter, before the service is."""

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch

from scheduler.engine import LoadError, describe
from scheduler.messages import Speedups, StepPeak
from scheduler.padding import row_counts
from scheduler.request import GenerateParams
from scheduler.sdxl.attention import with_attention
from scheduler.sdxl.captured import Captured, Lane
from scheduler.sdxl.compiled import compiled, many_shapes, never_again, searching
from scheduler.sdxl.decode import lay_out
from scheduler.sdxl.gauge import choose_gauge, taken
from scheduler.sdxl.memory import is_out_of_memory
from scheduler.sdxl.networks import (
    Input,
    Wrap,
    latent_sides,
    replace_text_encoder,
    replace_unet,
    replace_vae_decoder,
    unet_inputs,
)
from scheduler.sdxl.pictures import CHUNK_LATENT_PIXELS
from scheduler.sdxl.preview import PreviewDecoder
from scheduler.sdxl.prompts import FULL_BATCH
from scheduler.sdxl.warmed import Network, Prepare, Warmed
from scheduler.sdxl.weights import Model

TEXT_ROWS = (2, FULL_BATCH)  # texts encoded at once: of one request, and as many as are encoded ahead
ADVICE = "leave out --compile and --cuda-graphs, or empty PyTorch's compiler cache if an earlier start was cut short"

Progress = Callable[[str], None]

Size = tuple[int, int]
"""Width and height of a picture, in pixels."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One to make ready: of which network, what it is called, and what is in it."""

    network: Warmed
    name: str
    inputs: tuple[Input, ...]

    def warm(self, device: torch.device) -> None:
        self.network.warm(*(torch.zeros(*shape, dtype=dtype, device=device) for shape, dtype in self.inputs))


@torch.inference_mode()
def make_ready(model: Model, speedups: Speedups, max_rows: int, progress: Progress) -> Model:
    """Compiles or records, or both. A shape that memory does not hold is told, and left out. Raises `LoadError`."""
    sizes, counts = warm_sizes(model, speedups), row_counts(max_rows, speedups.warm_rows)
    decoder = PreviewDecoder(model.tiny_vae) if speedups.warm_previews else None
    with getting_ready(model.device):
        wrap = partial(wrapped, speedups)
        unet = replace_unet(model.pipe.unet, partial(wrap, attention=speedups.attention))
        # The most rows first: in their memory the graphs of fewer rows find room.
        shapes = {(size, rows): _unet_shape(model, unet, size, rows) for size in sizes for rows in reversed(counts)}
        vae = vae_shapes(model, wrap, sizes) if speedups.warm_vae else ()
        previews = preview_shapes(model, decoder, wrap, sizes, counts) if decoder else ()
        text = text_shapes(model, wrap) if speedups.warm_text else ()
        verb = "recording" if speedups.compile == "off" else "compiling"
        peaks = warm_all([*shapes.values(), *vae, *previews, *text], model.device, verb, progress)
    ready = {key: peaks[shape] for key, shape in shapes.items() if shape in peaks}
    return dataclasses.replace(
        model,
        row_counts={size: [rows for rows in counts if (size, rows) in ready] for size in sizes},
        ready_peaks=[StepPeak(size[0] * size[1], rows, peak) for (size, rows), peak in ready.items() if peak],
        preview_decoder=decoder,
    )


def warm_sizes(model: Model, speedups: Speedups) -> Sequence[Size]:
    """Those named, or the model's own."""
    return speedups.warm_sizes or ((model.default_size, model.default_size),)


@contextmanager
def getting_ready(device: torch.device) -> Iterator[None]:
    """Inside, networks are wrapped and shapes made ready."""
    # Streams are made, and graphs recorded, on the current device.
    on_device: AbstractContextManager[object] = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with many_shapes(), on_device, warnings.catch_warnings():
        # What PyTorch says of a function that diffusers asks for PyTorch's version.
        warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`", UserWarning)
        yield


def wrapped(speedups: Speedups, network: Network, attention: str = "auto") -> Warmed:
    plain = with_attention(network, attention)
    fast = compiled(
        plain, speedups.compile
    )  # not around it: the compiler's cache does not know of kernels named outside
    if speedups.cudnn_benchmark:
        fast = searching(fast)
    # A lane for each network: the VAE runs beside the steps.
    prepare: Prepare = partial(Captured, lane=Lane()) if speedups.cuda_graphs else never_again
    return Warmed(plain, fast, prepare)


def warm_all(shapes: Sequence[Shape], device: torch.device, verb: str, progress: Progress) -> dict[Shape, int]:
    """Those that memory holds, with the bytes that their calls take."""
    ready, gauge = {}, choose_gauge(device)
    for number, shape in enumerate(shapes, 1):
        progress(f"{verb} {number} of {len(shapes)}: {shape.name}")
        try:
            ready[shape] = taken(gauge, partial(shape.warm, device))
        except Exception as error:
            if not any(map(is_out_of_memory, _with_causes(error))):
                raise LoadError(f"{shape.name}: {describe(_raised_inside(error))}; {ADVICE}") from error
            progress(f"the memory does not hold {shape.name}: that runs as without --compile and --cuda-graphs")
    return ready


def _raised_inside(error: Exception) -> Exception:
    """What stopped the compiler: PyTorch's own error says no more than that something did."""
    inner: Exception = getattr(error, "inner_exception", error)
    return inner


def _with_causes(error: BaseException | None) -> Iterator[Exception]:
    """And what was being handled when it was raised: a recording that fails raises over what made it fail."""
    while isinstance(error, Exception):
        yield error
        error = error.__cause__ or error.__context__


def _unet_shape(model: Model, unet: Warmed, size: Size, rows: int) -> Shape:
    return Shape(unet, f"{_name(size)}, {rows} rows", tuple(unet_inputs(model.pipe, size, rows)))


def vae_shapes(model: Model, wrap: Wrap, sizes: Sequence[Size]) -> Iterator[Shape]:
    """One picture, and as many as are decoded at once."""
    lay_out(model.pipe.vae)  # what is compiled for one layout of the weights is of no use with another
    vae = replace_vae_decoder(model.pipe.vae, wrap)
    for size in sizes:
        height, width = latent_sides(model.pipe, size)
        for number in sorted({1, max(1, CHUNK_LATENT_PIXELS[model.device.type] // (height * width))}):
            latents = (number, model.pipe.vae.config.latent_channels, height, width)
            yield Shape(vae, f"{_name(size)}, {number} finished", ((latents, model.pipe.vae.dtype),))


def preview_shapes(
    model: Model, decoder: PreviewDecoder, wrap: Wrap, sizes: Sequence[Size], counts: Sequence[int]
) -> Iterator[Shape]:
    """Of requests with guidance that fill so many rows, as large as those get them which do not say."""
    networks: dict[int, Warmed] = {}
    for size in sizes:
        halvings = decoder.num_halvings(GenerateParams(prompt="", width=size[0], height=size[1]))
        vae = decoder.decoders[halvings]
        if halvings not in networks:
            networks[halvings] = replace_vae_decoder(vae, wrap)
        for number in sorted({max(1, rows // (1 if model.is_distilled else 2)) for rows in counts}, reverse=True):
            latents = (number, vae.config.latent_channels, *latent_sides(model.pipe, size))
            yield Shape(networks[halvings], f"{_name(size)}, {number} previews", ((latents, vae.dtype),))


def text_shapes(model: Model, wrap: Wrap) -> Iterator[Shape]:
    pipe = model.pipe
    for encoder, tokenizer in ((pipe.text_encoder, pipe.tokenizer), (pipe.text_encoder_2, pipe.tokenizer_2)):
        network = replace_text_encoder(encoder, wrap)
        for number in TEXT_ROWS:
            yield Shape(network, f"{number} texts", (((number, tokenizer.model_max_length), torch.int64),))


def _name(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
