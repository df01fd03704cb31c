"""Noise samplers by name: prototypes made from the model's own, of which every run makes its own copy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import diffusers as typed_diffusers

from scheduler.request import SamplerName
from scheduler.sdxl.untyped import NoiseSampler

diffusers: Any = typed_diffusers  # its constructors have no types


@dataclass(frozen=True, slots=True)
class Kind:
    """What a name stands for: a diffusers class with some `settings`.

    `defaults` hold where the model's configuration says nothing, and the class's own default is not for latents.
    """

    class_name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def includes(self, sampler: NoiseSampler) -> bool:
        has_settings = all(sampler.config.get(key) == value for key, value in self.settings.items())
        return type(sampler).__name__ == self.class_name and has_settings


KINDS: dict[SamplerName, Kind] = {
    # https://arxiv.org/abs/2206.00364, algorithm 2, of first order and without churn
    "euler": Kind("EulerDiscreteScheduler"),
    # the same with new noise after every step
    "euler_a": Kind("EulerAncestralDiscreteScheduler"),
    # https://arxiv.org/abs/2211.01095, algorithm 2
    "dpmpp_2m": Kind("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    # https://arxiv.org/abs/2010.02502, with eta 0
    "ddim": Kind("DDIMScheduler", defaults={"clip_sample": False, "set_alpha_to_one": False}),
    # https://arxiv.org/abs/2302.04867
    "unipc": Kind("UniPCMultistepScheduler", {"predict_x0": True}),
    # https://arxiv.org/abs/2310.04378
    "lcm": Kind("LCMScheduler"),
}

# What the model was trained with; the default of another class would be wrong for it.
TRAINED = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "rescale_betas_zero_snr",
)
PREDICTIONS = ("epsilon", "v_prediction")  # that every kind can read


class Prototypes:
    """The noise samplers of a model: one for each of `names`, and the one for requests that ask for none.

    `default_name` is None where that one is more particular than any name, as the stochastic form of a solver is.
    """

    def __init__(self, own: NoiseSampler, chosen: SamplerName | None = None) -> None:
        """`own` is the model's; `chosen` replaces it. Raises `ValueError`, which says what else to choose."""
        self._by_name = _by_name(own)
        self.names = tuple(self._by_name)
        if reason := _refusal(own, chosen, self.names):
            raise ValueError(reason)
        self._default = own if chosen is None else self._by_name[chosen]
        self.default_name = _name_of(self._default)

    def get(self, name: SamplerName | None) -> NoiseSampler:
        return self._default if name is None else self._by_name[name]


def _by_name(own: NoiseSampler) -> dict[SamplerName, NoiseSampler]:
    """A model whose noise schedule other classes cannot follow has at most its own."""
    if not _can_be_replaced(own.config):
        return {name: own for name in KINDS if KINDS[name].includes(own)}
    return {name: own if kind.includes(own) else _derive(own, kind) for name, kind in KINDS.items()}


def _can_be_replaced(config: Mapping[str, Any]) -> bool:
    is_discrete = "beta_schedule" in config and config.get("timestep_type", "discrete") == "discrete"
    return is_discrete and config.get("prediction_type", "epsilon") in PREDICTIONS


def _name_of(sampler: NoiseSampler) -> SamplerName | None:
    return next((name for name, kind in KINDS.items() if kind.includes(sampler)), None)


def _refusal(own: NoiseSampler, chosen: SamplerName | None, names: tuple[SamplerName, ...]) -> str | None:
    """Why the model's own or the chosen noise sampler cannot be used, None if it can."""
    class_name = type(own).__name__
    advice = f"choose another with --sampler: {', '.join(names)}" if names else "no other can take its place"
    if chosen is not None:
        return None if chosen in names else f"its noise sampler {class_name} cannot be replaced by {chosen}"
    if class_name not in {kind.class_name for kind in KINDS.values()}:
        return f"its noise sampler {class_name} is not known here; {advice}"
    if _predicts_noise(own.config):
        return f"its noise sampler {class_name} is set to predict noise, which gives no previews; {advice}"
    return None


def _predicts_noise(config: Mapping[str, Any]) -> bool:
    return config.get("algorithm_type") in ("dpmsolver", "sde-dpmsolver") or not config.get("predict_x0", True)


def _derive(own: NoiseSampler, kind: Kind) -> NoiseSampler:
    """A sampler of that kind, with all that the model's own configuration says."""
    config = own.config
    said = set(config) - set(config.get("_use_default_values", ()))
    trained = {key: config[key] for key in TRAINED if key in config}
    defaults = {key: value for key, value in kind.defaults.items() if key not in said}
    options = trained | defaults | _spacing(config, kind) | dict(kind.settings)
    return getattr(diffusers, kind.class_name).from_config(config, **options)


def _spacing(config: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """DDIM steps down by a constant stride, which leads past the timesteps of "linspace"; "trailing" also begins at the
    noisiest one.
    """
    leads_past = kind.class_name == "DDIMScheduler" and config.get("timestep_spacing") == "linspace"
    return {"timestep_spacing": "trailing"} if leads_past else {}
