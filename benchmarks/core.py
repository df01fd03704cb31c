"""The scheduling core by itself, without a model: what it costs a step, and how its policy shares a device.

python -m benchmarks.core step_cost      # schedule and postprocess with 2,000 requests waiting in 6 sizes
python -m benchmarks.core policy         # the scheduler and its alternatives, simulated
"""

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from benchmarks.environment import Environment, describe_environment
from benchmarks.policy import DEVICES, LOADS, POLICIES, SHARES, Load, Shared, joining_slowdown, share, step_outputs
from benchmarks.results import Spread, save, spread
from benchmarks.tables import environment_line, table
from scheduler.cost import CostModel
from scheduler.request import GenerateParams, Request
from scheduler.scheduler import StepScheduler

Argument = TypeVar("Argument")
Result = TypeVar("Result")

COMMONEST = max(SHARES, key=SHARES.__getitem__)
JOINED = 4  # requests in the batch that one joins, itself among them


class StepCost(msgspec.Struct, frozen=True, kw_only=True, tag="step_cost"):
    """Microseconds of the scheduler's own time, with so many requests waiting. `step` is schedule and postprocess."""

    name: str
    waiting: int
    sizes: int
    environment: Environment
    step: Spread
    schedule: Spread
    postprocess: Spread
    expire: Spread
    add: Spread
    abort: Spread


class Policy(msgspec.Struct, frozen=True, kw_only=True, tag="policy"):
    """How each policy shares each device. `joining` is by device, see `joining_slowdown`."""

    name: str
    requests: int
    seed: int
    environment: Environment
    shared: list[Shared]
    joining: dict[str, float]


class StepTimer:
    """Runs a scheduler with a full queue step by step, and takes the time of each of its calls."""

    def __init__(self, waiting: int, seed: int) -> None:
        self.microseconds: dict[str, list[float]] = {}
        self._random = random.Random(seed)
        self._waiting = waiting
        self._scheduler = StepScheduler(CostModel(DEVICES["steady"]))
        self._num_requests = 0
        self._refill()

    def run(self, num_steps: int) -> None:
        for step in range(num_steps):
            now = float(step)
            self._timed("expire", self._scheduler.expire, now)
            batch = self._timed("schedule", self._scheduler.schedule, now)
            self._timed("postprocess", self._scheduler.postprocess, step_outputs(batch))
            self._timed("abort", self._scheduler.abort, self._random.choice(self._scheduler.live_requests).id)
            self._refill()

    def _refill(self) -> None:
        """As many wait in the next step as in this one."""
        while self._scheduler.num_waiting < self._waiting:
            self._timed("add", self._scheduler.add, self._any_request())

    def _any_request(self) -> Request:
        width, height = self._random.choice(list(SHARES))
        self._num_requests += 1
        params = GenerateParams(
            prompt="",
            width=width,
            height=height,
            num_steps=self._random.randint(4, 40),
            guidance_scale=self._random.choice([1.0, 5.0]),
            priority=self._random.randint(-1, 1),
            deadline=self._random.choice([None, 1e6]),
        )
        return Request(str(self._num_requests), params, arrived_at=0.0)

    def _timed(self, name: str, call: Callable[[Argument], Result], argument: Argument) -> Result:
        started = time.perf_counter_ns()
        result = call(argument)
        self.microseconds.setdefault(name, []).append((time.perf_counter_ns() - started) / 1000)
        return result


def measure_step_cost(name: str, waiting: int, num_steps: int, seed: int) -> StepCost:
    environment = describe_environment()
    timer = StepTimer(waiting, seed)
    timer.run(num_steps)
    taken = timer.microseconds
    steps = [sum(calls) for calls in zip(taken["schedule"], taken["postprocess"], strict=True)]
    spreads = {call: known(spread(values)) for call, values in {**taken, "step": steps}.items()}
    return StepCost(name=name, waiting=waiting, sizes=len(SHARES), environment=environment, **spreads)


def known(values: Spread | None) -> Spread:
    assert values is not None, "nothing was measured"
    return values


def measure_policy(name: str, num_requests: int, seed: int) -> Policy:
    return Policy(
        name=name,
        requests=num_requests,
        seed=seed,
        environment=describe_environment(),
        shared=[
            share(device, policy, load, num_requests, seed)
            for device, loads in LOADS.items()
            for load in loads
            for policy in POLICIES
        ],
        joining={device: joining_slowdown(CostModel(info), COMMONEST, JOINED) for device, info in DEVICES.items()},
    )


def step_cost_table(result: StepCost) -> str:
    calls = {"schedule + postprocess": result.step} | {
        call: getattr(result, call) for call in ("schedule", "postprocess", "expire", "add", "abort")
    }
    rows = [
        (call, str(each.n), *(f"{value:.1f}" for value in (each.p50, each.p90, each.p99, each.max)))
        for call, each in calls.items()
    ]
    return "\n".join(
        [
            table(("microseconds", "n", "p50", "p90", "p99", "max"), rows),
            "",
            f"{result.waiting} requests waiting in {result.sizes} sizes",
            environment_line(result.environment),
        ]
    )


def policy_table(result: Policy) -> str:
    header = (
        *("device, load, policy", "throughput", "rarest p99 / commonest p99"),
        *("commonest p50", "commonest p99", "rarest p50", "rarest p99"),
    )
    joining = ", ".join(f"{slowdown:.2f} ({device})" for device, slowdown in result.joining.items())
    return "\n".join(
        [
            table(header, [shared_row(each) for each in result.shared]),
            "",
            "Seconds in simulated time. Throughput against batches of a single size each.",
            f"A short request that joins long ones takes, against a batch of its own kind: {joining}.",
            f"{result.requests} requests a run, seed {result.seed}",
            environment_line(result.environment),
        ]
    )


def shared_row(shared: Shared) -> tuple[str, ...]:
    relative = "" if shared.throughput is None else f"{shared.throughput:.0%}"
    seconds = (shared.common_p50, shared.common_p99, shared.rare_p50, shared.rare_p99)
    return (
        f"{shared.device}, {load_label(shared.load)}, {shared.policy}",
        relative,
        f"{shared.rare_to_common:.2f}",
        *(f"{value:.1f}" for value in seconds),
    )


def load_label(load: Load) -> str:
    return f"{load.rate:g} requests/s" if load.clients is None else f"{load.clients} clients"


def make_parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.core", description=__doc__, formatter_class=formatter)
    parser.add_argument("stage", choices=("step_cost", "policy"))
    parser.add_argument("--waiting", type=int, default=2000, metavar="N", help="requests that wait (2000)")
    parser.add_argument("--steps", type=int, default=5000, metavar="N", help="steps to time (5000)")
    parser.add_argument("--count", type=int, default=5000, metavar="N", help="requests a simulation (5000)")
    parser.add_argument("--seed", type=int, default=0, help="draws sizes, options and arrivals (0)")
    parser.add_argument("--name", default="core", help="name of the result (core)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="store the result")
    return parser


def main(arguments: list[str] | None = None) -> None:
    options = make_parser().parse_args(arguments)
    if options.stage == "step_cost":
        step_cost = measure_step_cost(options.name, options.waiting, options.steps, options.seed)
        finish(step_cost, step_cost_table(step_cost), options.json)
    else:
        policy = measure_policy(options.name, options.count, options.seed)
        finish(policy, policy_table(policy), options.json)


def finish(result: msgspec.Struct, text: str, path: Path | None) -> None:
    if path:
        save(result, path)
    print(text)


if __name__ == "__main__":
    main()
