"""The service really started, with the lab's model."""

import tempfile
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import msgspec

from benchmarks.gpu.lab import Lab
from benchmarks.servers import Server, free_port, running_server
from scheduler.messages import Speedups

MODES: dict[str, tuple[str, ...]] = {
    "step": ("--batching", "step"),
    "call": ("--batching", "call"),
    "one": ("--batching", "call", "--call-batch", "1"),
}
FAKE = ("--engine", "fake", "--fake-step-ms", "5")


class Services:
    """`get` gives a running service of a mode, the last one's if it has the same; else that one is stopped."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._stack = ExitStack()
        self._running: dict[str, Server] = {}

    def get(self, mode: str) -> Server:
        if mode not in self._running:
            self.close()
            self._lab.say(f"starting the service, {mode}")
            self._running[mode] = self._stack.enter_context(service(self._lab, MODES[mode], self._lab.speedups))
        return self._running[mode]

    def close(self) -> None:
        self._stack.close()
        self._running.clear()


def service(lab: Lab, flags: tuple[str, ...], speedups: Speedups) -> AbstractContextManager[Server]:
    """A context in which it runs with these flags, alone on the device. What it prints is in a file of its own."""
    port = free_port()
    own = FAKE if lab.scale.fake_service else model_flags(lab, speedups)
    log = Path(tempfile.mkdtemp(prefix="latentcast-gpu-")) / "service.log"
    lab.forget_models()
    command = ["service", "serve", "--port", str(port), *own, *flags]
    return running_server(command, port, log, timeout=lab.scale.start_timeout)


def model_flags(lab: Lab, speedups: Speedups) -> list[str]:
    return ["--model", str(lab.folder), "--device", str(lab.device), "--dtype", lab.dtype, *speedup_flags(speedups)]


def speedup_flags(speedups: Speedups) -> list[str]:
    """As the command line has them: all that differ from the default."""
    wanted = msgspec.structs.asdict(speedups)
    default = msgspec.structs.asdict(Speedups())
    changed = {name: value for name, value in wanted.items() if value != default[name]}
    return [text for name, value in changed.items() for text in _flag(name, value)]


def _flag(name: str, value: object) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    match value:
        case True:
            return [flag]
        case tuple():
            return [
                flag,
                ",".join("x".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value),
            ]
    return [flag, str(value)]


def _item(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
