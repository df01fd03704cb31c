"""Names for what diffusers leaves untyped."""

from typing import Any, TypeAlias

Pipeline: TypeAlias = Any
"""A `StableDiffusionXLPipeline`."""

Vae: TypeAlias = Any
"""An `AutoencoderKL`."""

TinyVae: TypeAlias = Any
"""An `AutoencoderTiny`."""

NoiseSampler: TypeAlias = Any
"""One of diffusers' schedulers, see `prototypes.KINDS`."""
