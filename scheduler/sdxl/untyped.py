"""Names for what diffusers leaves untyped."""

from typing import Any, TypeAlias

Pipeline: TypeAlias = Any
"""A `StableDiffusionXLPipeline`."""

TinyVae: TypeAlias = Any
"""An `AutoencoderTiny`."""

NoiseSampler: TypeAlias = Any
"""One of diffusers' schedulers, see `sampler.SUPPORTED`."""
