"""Makes the networks of a model ready for the shapes that matter, before the service is."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch

from scheduler.engine import LoadError, describe
from scheduler.messages import Speedups
from scheduler.padding import row_counts
from scheduler.sdxl.attention import with_attention
from scheduler.sdxl.captured import Captured, Lane
from scheduler.sdxl.compiled import compiled, many_shapes, never_again
from scheduler.sdxl.decode import lay_out
from scheduler.sdxl.memory import is_out_of_memory
from scheduler.sdxl.networks import Wrap, replace_text_encoder, replace_unet, replace_vae_decoder
from scheduler.sdxl.pictures import CHUNK_LATENT_PIXELS
from scheduler.sdxl.warmed import Network, Prepare, Warmed
from scheduler.sdxl.weights import Model

TEXT_ROWS = (2, 8)  # texts encoded at once: of one request, and of some that came together
ADVICE = "leave out --compile and --cuda-graphs, or empty PyTorch's compiler cache if an earlier start was cut short"

Progress = Callable[[str], None]

Size = tuple[int, int]
"""Width and height of a picture, in pixels."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One to make ready: of which network, what it is called, and what is in it: shapes and dtypes."""

    network: Warmed
    name: str
    inputs: Sequence[tuple[Sequence[int], torch.dtype]]

    def warm(self, device: torch.device) -> None:
        self.network.warm(*(torch.zeros(*shape, dtype=dtype, device=device) for shape, dtype in self.inputs))


@torch.inference_mode()
def make_ready(model: Model, speedups: Speedups, max_rows: int, progress: Progress) -> Model:
    """Compiles or records, or both. A shape that memory does not hold is told, and left out. Raises `LoadError`."""
    sizes = speedups.warm_sizes or ((model.default_size, model.default_size),)
    counts = row_counts(max_rows, speedups.warm_rows)
    verb = "recording" if speedups.compile == "off" else "compiling"
    with many_shapes(), _current(model.device):
        wrap = partial(_wrap, speedups)
        unet = replace_unet(model.pipe.unet, partial(wrap, attention=speedups.attention))
        # The most rows first: in their memory the graphs of fewer rows find room.
        shapes = {(size, rows): _unet_shape(model, unet, size, rows) for size in sizes for rows in reversed(counts)}
        vae = _vae_shapes(model, wrap, sizes) if speedups.warm_vae else ()
        text = _text_shapes(model, wrap) if speedups.warm_text else ()
        ready = _warm([*shapes.values(), *vae, *text], model.device, verb, progress)
    fitting = {size: [rows for rows in counts if shapes[size, rows] in ready] for size in sizes}
    return dataclasses.replace(model, row_counts=fitting)


def _wrap(speedups: Speedups, network: Network, attention: str = "auto") -> Warmed:
    plain = with_attention(network, attention)
    fast = with_attention(compiled(network, speedups.compile), attention)
    # A lane for each network: the VAE runs beside the steps.
    prepare: Prepare = partial(Captured, lane=Lane()) if speedups.cuda_graphs else never_again
    return Warmed(plain, fast, prepare)


def _warm(shapes: Sequence[Shape], device: torch.device, verb: str, progress: Progress) -> list[Shape]:
    """Those that memory holds."""
    ready = []
    for number, shape in enumerate(shapes, 1):
        progress(f"{verb} {number} of {len(shapes)}: {shape.name}")
        try:
            shape.warm(device)
        except Exception as error:
            if not any(map(is_out_of_memory, _with_causes(error))):
                raise LoadError(f"{shape.name}: {describe(error)}; {ADVICE}") from error
            progress(f"the memory does not hold {shape.name}: that runs as without --compile and --cuda-graphs")
        else:
            ready.append(shape)
    return ready


def _with_causes(error: BaseException | None) -> Iterator[Exception]:
    """And what was being handled when it was raised: a recording that fails raises over what made it fail."""
    while isinstance(error, Exception):
        yield error
        error = error.__cause__ or error.__context__


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Streams are made and graphs recorded on the current device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _unet_shape(model: Model, unet: Warmed, size: Size, rows: int) -> Shape:
    pipe, config, dtype = model.pipe, model.pipe.unet.config, model.dtype
    inputs = [
        ((rows, config.in_channels, *_latent_sides(model, size)), dtype),
        ((rows,), torch.float32),
        ((rows, pipe.tokenizer_2.model_max_length, config.cross_attention_dim), dtype),
        ((rows, pipe.text_encoder_2.config.projection_dim), dtype),
        ((rows, 6), dtype),
    ]
    if model.is_distilled:
        inputs.append(((rows, config.time_cond_proj_dim), dtype))
    return Shape(unet, f"{_name(size)}, {rows} rows", inputs)


def _vae_shapes(model: Model, wrap: Wrap, sizes: Sequence[Size]) -> Iterator[Shape]:
    """One picture, and as many as are decoded at once."""
    lay_out(model.pipe.vae)  # what is compiled for one layout of the weights is of no use with another
    vae = replace_vae_decoder(model.pipe.vae, wrap)
    for size in sizes:
        height, width = _latent_sides(model, size)
        for number in sorted({1, max(1, CHUNK_LATENT_PIXELS[model.device.type] // (height * width))}):
            latents = (number, model.pipe.vae.config.latent_channels, height, width)
            yield Shape(vae, f"{_name(size)}, {number} finished", [(latents, model.pipe.vae.dtype)])


def _text_shapes(model: Model, wrap: Wrap) -> Iterator[Shape]:
    pipe = model.pipe
    for encoder, tokenizer in ((pipe.text_encoder, pipe.tokenizer), (pipe.text_encoder_2, pipe.tokenizer_2)):
        network = replace_text_encoder(encoder, wrap)
        for number in TEXT_ROWS:
            yield Shape(network, f"{number} texts", [((number, tokenizer.model_max_length), torch.int64)])


def _latent_sides(model: Model, size: Size) -> tuple[int, int]:
    """Height and width."""
    factor = model.pipe.vae_scale_factor
    return size[1] // factor, size[0] // factor


def _name(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
