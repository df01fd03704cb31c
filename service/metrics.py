"""Every metric in one table. The service alone owns metrics; workers send numbers."""

import itertools
import platform
import time
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from scheduler.messages import Heartbeat, Loading, Ready, Report, StepStats
from scheduler.version import package_version

disable_created_metrics()  # type: ignore[no-untyped-call]

PREFIX = "latentcast"

LATENCY = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120)
INTERVAL = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
STEP = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2)
STAGE = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
LAG = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
BATCH = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
RATIO = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)

ROUTES = ("stream", "run", "queue", "generate", "native", "openai", "websocket", "realtime")
STAGES = ("text_encode", "unet", "sampler", "preview_decode", "vae_decode", "image_encode")
OUTCOMES = ("ok", "error", "cancelled", "deadline", "rejected")
RESOLUTIONS = ("small", "medium", "large")
ROW_CLASSES = ("1-2", "3-8", "9-32", "33+")

RejectReason = Literal[
    "queue_full",
    "queue_too_long",
    "draining",
    "not_ready",
    "too_large",
    "invalid",
    "unauthorized",
    "rate_limit",
    "too_many_generations",
    "too_many_streams",
]
REJECT_REASONS: Sequence[RejectReason] = get_args(RejectReason)

StreamKind = Literal["preview", "final", "control"]
STREAM_KINDS: Sequence[StreamKind] = get_args(StreamKind)

WORKER_SILENCE_SECONDS = 5.0  # a live worker says something every second


def resolution_class(width: int, height: int) -> str:
    """Pixels -> one of three classes: up to 512x512, up to 1024x1024, and beyond."""
    if width * height <= 512 * 512:
        return "small"
    return "medium" if width * height <= 1024 * 1024 else "large"


def row_class(num_rows: int) -> str:
    return next((name for name, most in zip(ROW_CLASSES, (2, 8, 32), strict=False) if num_rows <= most), "33+")


class Metrics:
    """One app's metrics, in a registry of its own. Series whose labels are known start at 0."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        self._heard_at: dict[str, float] = {}
        self._define_requests()
        self._define_batches()
        self._define_streams()
        self._define_processes()

    def _define_requests(self) -> None:
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.requests_received = counter("requests_received", "Requests for pictures that arrived", route=ROUTES)
        self.requests = counter("requests", "Requests that ended", outcome=OUTCOMES)
        self.requests_rejected = counter("requests_rejected", "Requests turned away", reason=REJECT_REASONS)
        self.requests_cancelled = counter(
            "requests_cancelled",
            "Generations cancelled",
            cause=("disconnect", "api", "shutdown"),
            phase=("queued", "running"),
        )
        self.requests_waiting = gauge("requests_waiting", "Generations admitted and not yet started")
        self.requests_running = gauge("requests_running", "Generations in a batch")
        self.queue_oldest_age = gauge("queue_oldest_age_seconds", "Age of the generation that waits longest")
        self.queue_cost = gauge("queue_cost", "Work that waits, in UNet row-steps at the model's own size")
        self.queue_wait = histogram("queue_wait_seconds", "From arrival to the first step", LATENCY)
        self.time_to_first_preview = histogram(
            "time_to_first_preview_seconds", "From arrival to the first preview", LATENCY, res=RESOLUTIONS
        )
        self.request_duration = histogram(
            "request_duration_seconds", "From arrival to the finished picture", LATENCY, res=RESOLUTIONS
        )
        self.preview_interval = histogram("preview_interval_seconds", "Between two previews of a picture", INTERVAL)

    def _define_batches(self) -> None:
        counter, histogram = self._counter, self._histogram
        self.batch_size = histogram("batch_size", "Requests in a step", BATCH)
        self.batch_rows = histogram("batch_rows", "UNet rows in a step, padding not included", BATCH)
        self.batch_occupancy = histogram(
            "batch_occupancy_ratio", "UNet rows in a step over the most that its size allows", RATIO
        )
        self.step_duration = histogram("step_duration_seconds", "One denoising step", STEP, rows=ROW_CLASSES)
        self.stage_duration = histogram("stage_duration_seconds", "One stage of a step", STAGE, stage=STAGES)
        self.images = counter("images", "Pictures finished")
        self.steps = counter("steps", "Denoising steps")
        self.rows = counter("rows", "UNet rows computed, padding not included")
        self.padded_rows = counter("padded_rows", "UNet rows that were padding")
        self.useful_pixels = counter("useful_pixels", "UNet rows x pixels, padding not included")
        self.padded_pixels = counter("padded_pixels", "UNet rows x pixels that were padding")
        self.prompt_cache = counter(
            "prompt_cache", "Texts that were and were not remembered when a request needed them", result=("hit", "miss")
        )

    def _define_streams(self) -> None:
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.previews_generated = counter("previews_generated", "Previews decoded")
        self.previews_sent = counter("previews_sent", "Previews written to a stream")
        self.previews_dropped = counter(
            "previews_dropped", "Previews replaced by a newer one, or left behind", reason=("coalesced", "gone")
        )
        self.stream_clients = gauge("stream_clients", "Open event streams")
        self.stream_duration = histogram("stream_duration_seconds", "How long event streams were open", LATENCY)
        stream_bytes_sent = counter("stream_bytes_sent", "Bytes written to event streams", kind=STREAM_KINDS)
        self.stream_bytes = {kind: stream_bytes_sent.labels(kind) for kind in STREAM_KINDS}
        self.stream_resumes = counter("stream_resumes", "Streams that came back with an id", result=("hit", "miss"))
        self.slow_client_closes = counter("slow_client_closes", "Streams closed because nobody read them")

    def _define_processes(self) -> None:
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.worker_up = gauge("worker_up", "1 while the worker's process reports", ["worker"])
        self.worker_ready = gauge("worker_ready", "1 while the worker takes requests", ["worker"])
        self.worker_last_step = gauge(
            "worker_last_step_timestamp_seconds", "Unix time of the worker's last step", ["worker"]
        )
        self.worker_restarts = counter("worker_restarts", "Workers started again", reason=("crash",))
        self.worker_oom = counter("worker_oom", "Batches halved because the device had no memory for them")
        self.gpu_memory_used = gauge("gpu_memory_used_bytes", "Device memory in use", ["gpu"])
        self.gpu_memory_total = gauge("gpu_memory_total_bytes", "Device memory there is", ["gpu"])
        self.event_loop_lag = histogram("event_loop_lag_seconds", "How late the event loop wakes up", LAG)
        self.build_info = gauge("build_info", "1, with the version as a label", ["version", "python"])
        self.build_info.labels(package_version(), platform.python_version()).set(1)

    def _counter(self, name: str, text: str, **labels: Sequence[str]) -> Counter:
        metric = Counter(f"{PREFIX}_{name}_total", f"{text}.", list(labels), registry=self.registry)
        for values in itertools.product(*labels.values()) if labels else ():
            metric.labels(*values)
        return metric

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", f"{text}.", labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], **labels: Sequence[str]) -> Histogram:
        metric = Histogram(f"{PREFIX}_{name}", f"{text}.", list(labels), buckets=buckets, registry=self.registry)
        for values in itertools.product(*labels.values()) if labels else ():
            metric.labels(*values)
        return metric

    def reject(self, reason: RejectReason) -> None:
        self.requests_rejected.labels(reason).inc()
        self.requests.labels("rejected").inc()

    def observe_report(self, worker: str, report: Report) -> None:
        """Takes in what a worker tells about itself."""
        self._heard_at[worker] = self._clock()
        match report:
            case Loading():
                self.worker_ready.labels(worker).set(0)
            case Ready():
                self.worker_ready.labels(worker).set(1)
            case StepStats():
                self._observe_step(worker, report)
            case Heartbeat():
                pass

    def _observe_step(self, worker: str, stats: StepStats) -> None:
        self.worker_last_step.labels(worker).set(time.time())
        self.steps.inc()
        self.rows.inc(stats.num_rows)
        self.padded_rows.inc(stats.padded_rows)
        self.useful_pixels.inc(stats.useful_pixels)
        self.padded_pixels.inc(stats.padded_pixels)
        self.prompt_cache.labels("hit").inc(stats.prompt_hits)
        self.prompt_cache.labels("miss").inc(stats.prompt_misses)
        self.worker_oom.inc(stats.out_of_memory)
        self.batch_size.observe(stats.batch_size)
        self.batch_rows.observe(stats.num_rows)
        self.batch_occupancy.observe(stats.num_rows / stats.max_rows)
        self.step_duration.labels(row_class(stats.num_rows)).observe(stats.duration)
        for stage, seconds in stats.stages.items():
            self.stage_duration.labels(stage).observe(seconds)
        self.previews_generated.inc(stats.previews)
        self.previews_dropped.labels("coalesced").inc(stats.previews_coalesced)
        if stats.memory_total:
            self.gpu_memory_used.labels(worker).set(stats.memory_used)
            self.gpu_memory_total.labels(worker).set(stats.memory_total)

    def refresh_workers(self) -> None:
        """Tells which workers have fallen silent."""
        for worker, heard_at in self._heard_at.items():
            is_up = self._clock() - heard_at < WORKER_SILENCE_SECONDS
            self.worker_up.labels(worker).set(is_up)
            if not is_up:
                self.worker_ready.labels(worker).set(0)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All of it as text, and its content type. Slow enough to be kept off the event loop."""
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # a version that is no number
            encode, content_type = choose_encoder("")
        return encode(self.registry), content_type
