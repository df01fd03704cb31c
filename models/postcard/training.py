"""What all stages share: the training loop, its clock, averaged weights, checkpoints and the log."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CHECKPOINT_FILE_BYTES = 15 * 2**20
SAVE_EVERY_SECONDS = 240
PRINT_EVERY_STEPS = 50
WARM_UP_STEPS = 100


class Stage(Protocol):
    """One network to train. `loss(step)` depends on the weights and `step` only, so that a resumed run is exact."""

    name: str
    steps: int
    learning_rate: float
    ema_decay: float

    @property
    def network(self) -> nn.Module: ...

    def loss(self, step: int) -> Tensor: ...


@dataclass
class Clock:
    """Ends a time slice and honours pauses. `minutes` None means no end; `stop` ends the slice at once."""

    minutes: float | None = None
    pause_file: Path | None = None
    started: float = field(default_factory=time.monotonic)
    stopped: bool = False

    def stop(self, *_: object) -> None:
        """Usable as a signal handler."""
        self.stopped = True

    def expired(self) -> bool:
        """Whether the time slice is used up."""
        return self.stopped or (self.minutes is not None and time.monotonic() - self.started > self.minutes * 60)

    def wait_while_paused(self) -> None:
        """Return when the pause file is absent."""
        while self.pause_file is not None and self.pause_file.exists() and not self.expired():
            time.sleep(0.5)


def run_stage(stage: Stage, work: Path, clock: Clock) -> bool:
    """Train `stage` from its checkpoint to its end or to the clock's -> whether it is finished."""
    state = _State(stage, work)
    state.load()
    saved = time.monotonic()
    while state.step < stage.steps:
        clock.wait_while_paused()
        if clock.expired():
            state.save()
            return False
        state.advance()
        if time.monotonic() - saved > SAVE_EVERY_SECONDS:
            state.save()
            saved = time.monotonic()
    state.save()
    return True


def averaged(stage: Stage, work: Path) -> int:
    """Put the averaged weights of the stage's checkpoint into `stage.network` -> its step, 0 if there is none."""
    state = _State(stage, work)
    state.load()
    stage.network.load_state_dict(state.ema)
    return state.step


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, then a cosine to 2 % of the peak."""
    warm_up = min(1.0, (step + 1) / min(WARM_UP_STEPS, max(1, steps // 10)))
    return peak * warm_up * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


class _State:
    """A stage's progress: weights, optimiser, averaged weights, step."""

    def __init__(self, stage: Stage, work: Path) -> None:
        self.stage, self.step = stage, 0
        self.folder = work / stage.name
        self.log = work / f"{stage.name}.csv"
        self.parameters = dict(stage.network.named_parameters())
        weights = self.parameters.values()
        self.optimiser = torch.optim.AdamW(weights, lr=0.0, betas=(0.9, 0.99), weight_decay=1e-3, fused=True)
        self.weights = stage.network.state_dict()
        self.ema = {name: value.detach().clone() for name, value in self.weights.items()}
        self.recent: list[tuple[int, float]] = []
        self.mark = time.monotonic()

    def advance(self) -> None:
        """One optimiser step."""
        rate = learning_rate(self.step, self.stage.steps, self.stage.learning_rate)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = self.stage.loss(self.step)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self._average()
        self.step += 1
        self.recent.append((self.step, loss.item()))
        if self.step % PRINT_EVERY_STEPS == 0:
            self._print()

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.stage.ema_decay, (1 + self.step) / (10 + self.step))
        floating = [(self.ema[name], value) for name, value in self.weights.items() if value.is_floating_point()]
        averages, values = map(list, zip(*floating, strict=True))
        torch._foreach_lerp_(averages, values, 1 - decay)

    def _print(self) -> None:
        seconds = (time.monotonic() - self.mark) / PRINT_EVERY_STEPS
        self.mark = time.monotonic()
        last = [loss for _, loss in self.recent[-PRINT_EVERY_STEPS:]]
        filled = 24 * self.step // self.stage.steps
        left = seconds * (self.stage.steps - self.step) / 60
        line = f"{self.stage.name} [{'#' * filled}{'.' * (24 - filled)}] {self.step}/{self.stage.steps}"
        end = "\r" if sys.stdout.isatty() else "\n"
        print(f"{line} loss {sum(last) / len(last):.4f} {seconds:.3f} s/step {left:.1f} min left", end=end, flush=True)

    def save(self) -> None:
        """Write the checkpoint beside the old one, then swap: a kill at any moment leaves a whole one."""
        fresh = self.folder.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for number, shard in enumerate(_shards(self._tensors())):
            save_file(shard, fresh / f"{number:03}.safetensors")
        (fresh / "step.json").write_text(json.dumps({"step": self.step}))
        shutil.rmtree(self.folder, ignore_errors=True)
        fresh.rename(self.folder)
        with self.log.open("a") as log:
            log.writelines(f"{step},{loss:.6f}\n" for step, loss in self.recent)
        self.recent = self.recent[:0]

    @torch.no_grad()
    def load(self) -> None:
        """Continue from the checkpoint, if there is one."""
        folder = self.folder if self.folder.exists() else self.folder.with_suffix(".new")
        if not (folder / "step.json").exists():
            return
        self.step = int(json.loads((folder / "step.json").read_text())["step"])
        tensors: dict[str, Tensor] = {}
        for path in sorted(folder.glob("*.safetensors")):
            tensors |= load_file(path)
        self.stage.network.load_state_dict(_under("weights", tensors))
        for name, value in _under("ema", tensors).items():
            self.ema[name].copy_(value)
        for name, parameter in self.parameters.items():
            # The fused optimiser needs moments laid out in memory as their parameter is.
            moments = {
                key: torch.empty_like(parameter).copy_(tensors[f"{key}:{name}"]) for key in ("exp_avg", "exp_avg_sq")
            }
            self.optimiser.state[parameter] = {
                "step": torch.tensor(float(self.step), device=parameter.device),
                **moments,
            }

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"weights:{name}": value for name, value in self.weights.items()}
        tensors |= {f"ema:{name}": value for name, value in self.ema.items()}
        for name, parameter in self.parameters.items():
            for key in ("exp_avg", "exp_avg_sq"):
                moment = self.optimiser.state.get(parameter, {}).get(key, torch.zeros_like(parameter))
                tensors[f"{key}:{name}"] = moment
        return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.split(":", 1)[1]: value for name, value in tensors.items() if name.startswith(f"{prefix}:")}


def _shards(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, value in tensors.items():
        if shard and size + value.nbytes > CHECKPOINT_FILE_BYTES:
            yield shard
            shard, size = {}, 0
        shard[name] = value
        size += value.nbytes
    yield shard
