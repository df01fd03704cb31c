"""What the dashboard shows: every panel with its question, its unit and its PromQL.

Selectors carry `$job` and `$instance`, rates are taken before sums, and over `$__rate_interval`.
"""

from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.models import units

Style = Literal["stat", "graph", "stacked", "heatmap"]


@dataclass(frozen=True)
class Query:
    """One PromQL expression; `legend` may name labels as `{{label}}`."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """`unit` is one of Grafana's; `width` counts columns of 24."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    style: Style = "graph"
    width: int = 8


@dataclass(frozen=True)
class Section:
    title: str
    panels: tuple[Panel, ...]


def metric(name: str, matchers: str = "") -> str:
    """`latentcast_<name>` of the chosen services; `matchers` are further ones, as PromQL has them."""
    chosen = 'job=~"$job", instance=~"$instance"'
    return f"latentcast_{name}{{{', '.join(filter(None, (chosen, matchers)))}}}"


def rate(name: str, matchers: str = "") -> str:
    return f"rate({metric(name, matchers)}[$__rate_interval])"


def total_rate(name: str, matchers: str = "", by: str = "") -> str:
    """The rate a second of all services together, or by label."""
    return f"sum by ({by}) ({rate(name, matchers)})" if by else f"sum({rate(name, matchers)})"


def quantile(q: float, histogram: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) ({rate(f'{histogram}_bucket')}))"


def percentiles(histogram: str) -> tuple[Query, ...]:
    return tuple(Query(quantile(q, histogram), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99))


def mean(histogram: str) -> str:
    return f"{total_rate(f'{histogram}_sum')} / {total_rate(f'{histogram}_count')}"


def share(part: str, whole: str) -> str:
    """A ratio that is 0 while nothing happens, not a division by zero."""
    return f"{part} / ({whole} > 0) or vector(0)"


NOW = Section(
    "Now",
    (
        Panel(
            "Images",
            "Finished images a second, over all services.",
            units.OpsPerSecond,
            (Query(total_rate("images_total"), "images"),),
            "stat",
            4,
        ),
        Panel(
            "First preview, p50",
            "Half of all requests see their first preview within this time of their arrival.",
            units.Seconds,
            (Query(quantile(0.5, "time_to_first_preview_seconds"), "p50"),),
            "stat",
            4,
        ),
        Panel(
            "First preview, p99",
            "All but one request in a hundred see their first preview within this time of their arrival.",
            units.Seconds,
            (Query(quantile(0.99, "time_to_first_preview_seconds"), "p99"),),
            "stat",
            4,
        ),
        Panel(
            "Running",
            "Requests in the batch.",
            units.Short,
            (Query(f"sum({metric('requests_running')})", "running"),),
            "stat",
            4,
        ),
        Panel(
            "Waiting",
            "Requests admitted and not yet in the batch.",
            units.Short,
            (Query(f"sum({metric('requests_waiting')})", "waiting"),),
            "stat",
            4,
        ),
        Panel(
            "Workers ready",
            "Workers with a loaded model that take requests.",
            units.Short,
            (Query(f"sum({metric('worker_ready')})", "ready"),),
            "stat",
            4,
        ),
    ),
)

TRAFFIC = Section(
    "Traffic",
    (
        Panel(
            "Requests by route",
            "Arrivals a second, accepted or not.",
            units.RequestsPerSecond,
            (Query(total_rate("requests_received_total", by="route"), "{{route}}"),),
            "stacked",
        ),
        Panel(
            "Requests by outcome",
            "Ends a second. Anything but ok is worth a look: the next panel and the logs say why.",
            units.RequestsPerSecond,
            (Query(total_rate("requests_total", by="outcome"), "{{outcome}}"),),
            "stacked",
        ),
        Panel(
            "Rejected and cancelled",
            "Requests a second that were turned away, by reason, and that their client gave up, by cause.",
            units.RequestsPerSecond,
            (
                Query(total_rate("requests_rejected_total", by="reason"), "rejected: {{reason}}"),
                Query(total_rate("requests_cancelled_total", by="cause, phase"), "cancelled: {{cause}}, {{phase}}"),
            ),
        ),
        Panel(
            "Running and waiting",
            "Requests in the batch and in the queue. A queue beside a batch with room is a fault of the scheduler.",
            units.Short,
            (
                Query(f"sum({metric('requests_running')})", "running"),
                Query(f"sum({metric('requests_waiting')})", "waiting"),
            ),
        ),
        Panel(
            "Oldest in the queue",
            "Age of the request that has waited longest.",
            units.Seconds,
            (Query(f"max({metric('queue_oldest_age_seconds')})", "oldest"),),
        ),
        Panel(
            "Cost of the queue",
            "Work that waits, in UNet row-steps at the model's own size; --max-queue-cost bounds it.",
            units.Short,
            (Query(f"sum({metric('queue_cost')})", "cost"),),
        ),
    ),
)

LATENCY = Section(
    "What a client sees",
    (
        Panel(
            "Time to first preview",
            "From the arrival of a request to its first preview.",
            units.Seconds,
            percentiles("time_to_first_preview_seconds"),
        ),
        Panel(
            "Time between previews",
            "From one preview of a picture to its next.",
            units.Seconds,
            percentiles("preview_interval_seconds"),
        ),
        Panel(
            "Request duration",
            "From the arrival of a request to its finished image.",
            units.Seconds,
            percentiles("request_duration_seconds"),
        ),
        Panel(
            "Time in the queue",
            "From the arrival of a request to its place in the batch.",
            units.Seconds,
            percentiles("queue_wait_seconds"),
        ),
        Panel(
            "First preview by size",
            "p95 for each class of image size.",
            units.Seconds,
            (Query(quantile(0.95, "time_to_first_preview_seconds", by="res"), "{{res}}"),),
        ),
        Panel(
            "First preview, spread",
            "How many requests saw their first preview after which time.",
            units.Seconds,
            (Query(total_rate("time_to_first_preview_seconds_bucket", by="le"), "{{le}}"),),
            "heatmap",
        ),
    ),
)

BATCH = Section(
    "The batch",
    (
        Panel(
            "Batch size",
            "Mean requests and UNet rows a step; a request with guidance takes two rows.",
            units.Short,
            (Query(mean("batch_size"), "requests"), Query(mean("batch_rows"), "rows")),
            width=6,
        ),
        Panel(
            "Occupancy",
            "Mean share of the largest batch that steps fill, as large as their size allows.",
            units.PercentUnit,
            (Query(mean("batch_occupancy_ratio"), "occupancy"),),
            width=6,
        ),
        Panel(
            "Step duration",
            "One denoising step of the whole batch, p95 by number of rows.",
            units.Seconds,
            (Query(quantile(0.95, "step_duration_seconds", by="rows"), "{{rows}} rows"),),
            width=6,
        ),
        Panel(
            "Time by stage",
            "Seconds that each stage takes in a second: where a worker's time goes.",
            units.PercentUnit,
            (Query(total_rate("stage_duration_seconds_sum", by="stage"), "{{stage}}"),),
            "stacked",
            6,
        ),
        Panel(
            "Rows and steps",
            "UNet rows and denoising steps a second.",
            units.OpsPerSecond,
            (Query(total_rate("rows_total"), "rows"), Query(total_rate("steps_total"), "steps")),
            width=6,
        ),
        Panel(
            "Padding",
            "Share of rows computed only to fill a batch up to a size it was compiled for.",
            units.PercentUnit,
            (
                Query(
                    share(
                        total_rate("padded_rows_total"),
                        f"({total_rate('rows_total')} + {total_rate('padded_rows_total')})",
                    ),
                    "padding",
                ),
            ),
            width=6,
        ),
        Panel(
            "Prompt cache",
            "Share of prompts whose embeddings were remembered. What is not remembered is encoded between two steps.",
            units.PercentUnit,
            (
                Query(
                    share(
                        total_rate("prompt_cache_total", 'result="hit"'),
                        total_rate("prompt_cache_total"),
                    ),
                    "hits",
                ),
            ),
            width=6,
        ),
        Panel(
            "Out of memory",
            "Batches that the device had no memory for, from one point of the graph to the next. Each was halved and "
            "its step made again, and batches of that size stay smaller from then on.",
            units.Short,
            (Query(f"sum(increase({metric('worker_oom_total')}[$__rate_interval]))", "halved"),),
            width=6,
        ),
    ),
)

STREAMS = Section(
    "Previews and streams",
    (
        Panel(
            "Previews",
            "Previews a second: made by workers, sent to clients, dropped for a newer one or for want of a client.",
            units.OpsPerSecond,
            (
                Query(total_rate("previews_generated_total"), "generated"),
                Query(total_rate("previews_sent_total"), "sent"),
                Query(total_rate("previews_dropped_total", by="reason"), "dropped: {{reason}}"),
            ),
        ),
        Panel(
            "Open streams",
            "Clients that watch a picture form just now.",
            units.Short,
            (Query(f"sum({metric('stream_clients')})", "clients"),),
        ),
        Panel(
            "Bytes sent",
            "Bytes a second on all streams: previews, finished images, and the rest.",
            units.BytesPerSecondIEC,
            (Query(total_rate("stream_bytes_sent_total", by="kind"), "{{kind}}"),),
            "stacked",
        ),
    ),
)

HEALTH = Section(
    "Health",
    (
        Panel(
            "Workers",
            "Worker processes that run, and those that are ready for requests.",
            units.Short,
            (Query(f"sum({metric('worker_up')})", "up"), Query(f"sum({metric('worker_ready')})", "ready")),
        ),
        Panel(
            "Worker restarts",
            "Restarts from one point of the graph to the next. More than two in a quarter of an hour raise an alert.",
            units.Short,
            (Query(f"sum by (reason) (increase({metric('worker_restarts_total')}[$__rate_interval]))", "{{reason}}"),),
        ),
        Panel(
            "Event loop lag",
            "How late the service's event loop runs: every stream waits for it.",
            units.Seconds,
            percentiles("event_loop_lag_seconds"),
        ),
        Panel(
            "Device memory",
            "Share of each device's memory in use.",
            units.PercentUnit,
            (Query(f"{metric('gpu_memory_used_bytes')} / {metric('gpu_memory_total_bytes')}", "{{instance}} {{gpu}}"),),
        ),
        Panel(
            "Streams closed and resumed",
            "Event streams a second that were closed because nobody read them, and that came back with an id.",
            units.OpsPerSecond,
            (
                Query(total_rate("slow_client_closes_total"), "closed"),
                Query(total_rate("stream_resumes_total", by="result"), "resumed: {{result}}"),
            ),
        ),
        Panel(
            "Last step",
            "Time since each worker last made a step. Grows while it is idle, and while it hangs.",
            units.Seconds,
            (Query(f"time() - {metric('worker_last_step_timestamp_seconds')}", "{{instance}} {{worker}}"),),
        ),
    ),
)

SECTIONS = (NOW, TRAFFIC, LATENCY, BATCH, STREAMS, HEALTH)
