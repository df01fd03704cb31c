import pytest
from prometheus_client import CollectorRegistry

from scheduler.messages import Heartbeat, Loading, Ready
from service.metrics import Metrics, resolution_class, row_class
from tests.info import make_stats
from tests.service.harness import MODEL, Service, body, eventually, parse_events
from tests.service.test_kept import Clock


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"latentcast_{name}", labels)


def test_known_series_start_at_zero() -> None:
    registry = Metrics().registry
    assert value(registry, "requests_total", outcome="error") == 0
    assert value(registry, "requests_total", outcome="deadline") == 0
    assert value(registry, "prompt_cache_total", result="hit") == 0
    assert value(registry, "requests_cancelled_total", cause="api", phase="queued") == 0
    assert value(registry, "previews_dropped_total", reason="coalesced") == 0
    assert value(registry, "time_to_first_preview_seconds_count", res="small") == 0
    assert value(registry, "stage_duration_seconds_count", stage="vae_decode") == 0


def test_every_name_has_the_prefix_and_there_are_no_created_series() -> None:
    names = {sample.name for family in Metrics().registry.collect() for sample in family.samples}
    assert all(name.startswith("latentcast_") for name in names)
    assert not any(name.endswith("_created") for name in names)


def test_two_apps_do_not_share_metrics() -> None:
    one, other = Metrics(), Metrics()
    one.images.inc()
    assert value(other.registry, "images_total") == 0


def test_a_step_is_taken_in() -> None:
    metrics = Metrics()
    metrics.observe_report("worker-0", make_stats(useful_pixels=8192, duration=0.04))
    registry = metrics.registry
    assert value(registry, "steps_total") == 1
    assert value(registry, "rows_total") == 2
    assert value(registry, "useful_pixels_total") == 8192
    assert value(registry, "batch_occupancy_ratio_sum") == pytest.approx(2 / 32)
    assert value(registry, "step_duration_seconds_sum", rows="1-2") == 0.04
    assert value(registry, "gpu_memory_total_bytes", gpu="worker-0") is None
    assert value(registry, "worker_oom_total") == 0


def test_memory_that_ran_out_and_texts_that_were_remembered_add_up() -> None:
    metrics = Metrics()
    stats = make_stats(out_of_memory=2, prompt_hits=3, prompt_misses=1)
    for _ in range(2):
        metrics.observe_report("worker-0", stats)
    assert value(metrics.registry, "worker_oom_total") == 4
    assert value(metrics.registry, "prompt_cache_total", result="hit") == 6
    assert value(metrics.registry, "prompt_cache_total", result="miss") == 2


def test_a_batch_is_full_at_the_cap_of_its_size() -> None:
    metrics = Metrics()
    metrics.observe_report("worker-0", make_stats(num_rows=6, max_rows=8))
    assert value(metrics.registry, "batch_occupancy_ratio_sum") == 0.75


def test_a_worker_is_up_while_it_reports() -> None:
    clock = Clock()
    metrics = Metrics(clock)
    for report, up, ready in ((Loading("loading"), 1, 0), (Ready(MODEL), 1, 1), (Heartbeat(0, 0), 1, 1)):
        metrics.observe_report("worker-0", report)
        metrics.refresh_workers()
        assert value(metrics.registry, "worker_up", worker="worker-0") == up
        assert value(metrics.registry, "worker_ready", worker="worker-0") == ready
    clock.now += 10
    metrics.refresh_workers()
    assert value(metrics.registry, "worker_up", worker="worker-0") == 0
    assert value(metrics.registry, "worker_ready", worker="worker-0") == 0


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ((256, 256), "small"),
        ((512, 512), "small"),
        ((520, 512), "medium"),
        ((1024, 1024), "medium"),
        ((2048, 1024), "large"),
    ],
)
def test_resolution_classes(size: tuple[int, int], name: str) -> None:
    assert resolution_class(*size) == name


@pytest.mark.parametrize(("rows", "name"), [(1, "1-2"), (2, "1-2"), (3, "3-8"), (8, "3-8"), (32, "9-32"), (33, "33+")])
def test_row_classes(rows: int, name: str) -> None:
    assert row_class(rows) == name


async def test_a_streamed_generation_is_counted_everywhere(service: Service) -> None:
    answer = await service.http.post("/stream", json=body())
    events = parse_events(await answer.read())
    previews = len(events) - 1
    metric = service.metric
    assert metric("requests_received_total", route="stream") == 1
    assert metric("requests_total", outcome="ok") == 1
    assert metric("images_total") == 1
    assert metric("steps_total") == 4
    assert metric("rows_total") == 8
    assert metric("queue_wait_seconds_count") == 1
    assert metric("time_to_first_preview_seconds_count", res="small") == 1
    assert metric("request_duration_seconds_count", res="small") == 1
    assert metric("previews_sent_total") == previews
    assert metric("previews_generated_total") >= previews
    assert metric("batch_size_count") == 4
    assert metric("stream_duration_seconds_count") == 1
    assert metric("stream_bytes_sent_total", kind="final") > metric("stream_bytes_sent_total", kind="preview") / 10
    assert metric("worker_ready", worker="worker-0") == 1


async def test_the_interval_between_previews_is_that_of_one_picture(gated: Service) -> None:
    record = await gated.create(num_images=2, num_inference_steps=5)
    generation = gated.generation(record["id"])
    gated.worker.allow()
    await eventually(lambda: generation.step == 1)
    assert gated.metric("time_to_first_preview_seconds_count", res="small") == 1
    assert gated.metric("preview_interval_seconds_count") == 0
    gated.worker.allow(2)
    await eventually(lambda: generation.step == 3)
    assert gated.metric("preview_interval_seconds_count") == 2
    assert gated.metric("time_to_first_preview_seconds_count", res="small") == 1


async def test_the_state_of_the_moment_is_in_the_scrape(gated: Service) -> None:
    ids = [(await gated.create())["id"] for _ in range(3)]
    text = await (await gated.http.get("/metrics")).text()
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    waiting, running = (float(samples[f"latentcast_requests_{state}"]) for state in ("waiting", "running"))
    assert waiting + running == 3
    assert float(samples["latentcast_queue_cost"]) == waiting * gated.generation(ids[0]).cost
    assert (float(samples["latentcast_queue_oldest_age_seconds"]) > 0) == (waiting > 0)
    assert samples['latentcast_worker_up{worker="worker-0"}'] == "1.0"
    assert len(samples) < 900


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
        ("text/plain; version=nonsense", "text/plain"),
    ],
)
async def test_scrapers_choose_the_format(service: Service, accept: str, content_type: str) -> None:
    answer = await service.http.get("/metrics", headers={"Accept": accept})
    assert (answer.status, answer.content_type) == (200, content_type)
