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
    "call": ("--batching", "call", "--call-batch", "8", "--max-rows", "16"),
    "one": ("--batching", "call", "--call-batch", "1", "--max-rows", "2"),
}
"""With no more rows than it can have: for more it need not be made ready."""
FAKE = ("--engine", "fake", "--fake-step-ms", "5")
WARM_ROWS = (8, 16, 32)
"""That a service is made ready for which has to be: each takes a minute of the compiler. Under load fewer are rare."""

Kind = tuple[str, int]
"""A mode, and the side of the pictures."""


class Services:
    """`get` gives a running service of a mode and size, the last one if it is the same; else that one is stopped.

    One for each size, because a service that is made ready for several would take minutes more until it can be loaded.
    A kind that could not be started once is not started again.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._stack = ExitStack()
        self._running: dict[Kind, Server] = {}
        self._failed: dict[Kind, Exception] = {}

    def get(self, mode: str, side: int) -> Server:
        kind = (mode, side)
        if kind in self._failed:
            raise self._failed[kind]
        if kind not in self._running:
            self.close()
            self._running[kind] = self._start(kind)
        return self._running[kind]

    def _start(self, kind: Kind) -> Server:
        mode, side = kind
        self._lab.say(f"starting the service, {mode}, {side}")
        speedups = made_ready(self._lab.speedups, side)
        try:
            return self._stack.enter_context(service(self._lab, MODES[mode], speedups))
        except Exception as error:
            self._lab.say(str(error))  # with the end of its log, which is gone with the machine
            self._failed[kind] = error
            raise

    def close(self) -> None:
        self._stack.close()
        self._running.clear()


def made_ready(speedups: Speedups, side: int) -> Speedups:
    """For such pictures, where shapes have to be made ready and none are named."""
    if (speedups.compile == "off" and not speedups.cuda_graphs) or speedups.warm_sizes:
        return speedups
    return msgspec.structs.replace(speedups, warm_sizes=((side, side),), warm_rows=speedups.warm_rows or WARM_ROWS)


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
