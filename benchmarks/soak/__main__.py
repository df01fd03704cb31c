"""Mixed traffic against a service really started, every request accounted for at the end, memory watched.

    python -m benchmarks.soak --minutes 10 --json benchmarks/results/soak.json

Sizes, steps, guidance, samplers, several pictures at once, priorities, deadlines and preview settings are mixed; some
clients leave in mid-stream, some cancel, some ask for nonsense. At the end what the clients saw must equal what the
service counted. The exit code is 1 where anything is unaccounted for, or memory grows.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.plot import plot
from benchmarks.results import save
from benchmarks.servers import ServerError
from benchmarks.soak.results import Plan, soak_table
from benchmarks.soak.run import run


def make_parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=__doc__, formatter_class=formatter)
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M", help="how long to send (%(default)g)")
    parser.add_argument("--clients", type=int, default=24, metavar="N", help="concurrent clients (%(default)s)")
    parser.add_argument("--model", help="diffusers folder or hub id (the bundled one)")
    parser.add_argument("--size", type=int, default=256, metavar="N", help="the model's own, in pixels (%(default)s)")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16", "float16"), help="(%(default)s)")
    parser.add_argument("--batching", default="step", choices=("step", "call"), help="(%(default)s)")
    parser.add_argument("--engine", default="sdxl", choices=("sdxl", "fake"), help="fake: no model (%(default)s)")
    parser.add_argument("--queue-cost", type=float, default=600, metavar="C", help="of the service (%(default)g)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="store the result, and its plot beside it")
    return parser


def service_options(options: argparse.Namespace) -> list[str]:
    """Finished pictures are kept for a minute only: what is kept is memory that grows as it should."""
    flags = {
        "--dtype": options.dtype,
        "--batching": options.batching,
        "--engine": options.engine,
        "--max-queue-cost": options.queue_cost,
        "--keep-minutes": 1,
        "--model": options.model,
    }
    return [text for flag, value in flags.items() if value is not None for text in (flag, str(value))]


def plan_of(options: argparse.Namespace) -> Plan:
    return Plan(
        options=service_options(options), clients=options.clients, seconds=options.minutes * 60, size=options.size
    )


def main() -> None:
    options = make_parser().parse_args()
    log = Path(tempfile.mkdtemp(prefix="latentcast-soak-")) / "service.log"
    try:
        result = run(plan_of(options), log)
    except ServerError as error:
        sys.exit(str(error))
    if options.json:
        save(result, options.json)
        plot(options.json, options.json.with_suffix(".png"))
    print(soak_table(result))
    if result.problems:
        sys.exit("\n".join(["Not all is well:", *result.problems, f"The service's output is in {log}"]))


if __name__ == "__main__":
    main()
