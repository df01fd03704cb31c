"""Results as Markdown tables."""

from collections.abc import Iterable, Sequence

from benchmarks.comparison import Comparison, Figures, Range
from benchmarks.environment import Environment
from benchmarks.results import LoadResult, Spread

MODE_LABELS = {
    "step": "`--batching step`",
    "call": "`--batching call`",
    "one": "one request at a time",
    "naive": "a thread and a pipeline call per request",
    "naive-1": "a thread and a pipeline call per request, one core each",
}


def load_table(result: LoadResult) -> str:
    """Latencies in seconds, then throughput and failures."""
    summary = result.summary
    rows = [
        ("first preview", *_spread_cells(summary.first_preview)),
        ("preview interval", *_spread_cells(summary.preview_interval)),
        ("end to end", *_spread_cells(summary.end_to_end)),
    ]
    errors = ", ".join(f"{count} {kind}" for kind, count in summary.errors.items()) or "none"
    speed = f"{summary.images} images in {summary.seconds:.1f} s: {summary.images_per_second:.2f} images/s"
    return "\n".join(
        [
            table(("seconds", "n", "p50", "p90", "p99", "max"), rows),
            "",
            f"{speed}; errors: {errors}",
            environment_line(result.environment),
        ]
    )


def comparison_table(result: Comparison) -> str:
    """A row for each way to serve: the median over rounds, with the extremes in brackets where there are several."""
    header = (
        *("serving", "images/s", "against one at a time", "first preview p50", "end to end p50", "end to end p99"),
        *("lone first preview", "start to ready", "memory: service + worker"),
    )
    rows = [(MODE_LABELS.get(mode, mode), *_figure_cells(figures)) for mode, figures in result.figures.items()]
    rounds = len({r.number for r in result.rounds})
    workload = result.workload
    steps = "/".join(map(str, workload.steps))
    guidance = "/".join(map(str, workload.guidance))
    return "\n".join(
        [
            table(header, rows),
            "",
            f"{result.clients} clients, {result.count} images a round, {rounds} rounds, {steps} steps, "
            f"guidance {guidance}, {result.dtype}; median (lowest to highest round).",
            environment_line(result.environment),
        ]
    )


def environment_line(environment: Environment) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    machine = ", ".join([environment.cpu, f"{environment.cores} cores", *environment.gpus])
    return f"{machine}; Python {environment.python}, {packages}; {environment.commit} {environment.measured_at}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """GitHub Markdown; the first column is text, the others are figures."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def _spread_cells(spread: Spread | None) -> tuple[str, ...]:
    if spread is None:
        return ("0", "", "", "", "")
    return (str(spread.n), *(f"{value:.2f}" for value in (spread.p50, spread.p90, spread.p99, spread.max)))


def _figure_cells(figures: Figures) -> tuple[str, ...]:
    memory = [_range(figures.service_mib, "", 0), _range(figures.worker_mib, "", 0)]
    return (
        _range(figures.images_per_second),
        _range(figures.speed_up, "x"),
        _range(figures.first_preview_p50, " s"),
        _range(figures.end_to_end_p50, " s", 1),
        _range(figures.end_to_end_p99, " s", 1),
        _range(figures.lone_first_preview, " s"),
        _range(figures.start_seconds, " s", 1),
        " + ".join(cell for cell in memory if cell) + " MiB",
    )


def _range(values: Range | None, unit: str = "", digits: int = 2) -> str:
    if values is None:
        return ""
    low, middle, high = (f"{value:.{digits}f}" for value in (values.min, values.median, values.max))
    return f"{middle}{unit}" if low == high else f"{middle}{unit} ({low} to {high})"
