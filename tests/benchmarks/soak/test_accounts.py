import pytest
from prometheus_client import generate_latest

from benchmarks.soak.accounts import (
    AT_REST,
    Account,
    Counts,
    balance,
    problems,
    read_metrics,
)
from benchmarks.soak.visitor import Ending
from service.metrics import Metrics
from tests.benchmarks.samples import make_ending


def counts_of(metrics: Metrics) -> Counts:
    return read_metrics(generate_latest(metrics.registry).decode())


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def count_some(metrics: Metrics) -> list[Ending]:
    """Three requests as the service counts them, and as their clients saw them."""
    metrics.requests_received.labels("stream").inc(2)
    metrics.requests_received.labels("native").inc(1)
    metrics.requests.labels("ok").inc()
    metrics.images.inc(3)
    metrics.requests.labels("cancelled").inc()
    metrics.reject("queue_full")
    return [
        make_ending(images=3),
        make_ending(route="native", outcome="cancelled", images=0),
        make_ending(outcome="rejected", reason="queue_full", images=0),
    ]


def test_the_balance_is_even_when_all_is_counted(metrics: Metrics) -> None:
    before = counts_of(metrics)
    accounts = balance(count_some(metrics), before, counts_of(metrics))
    assert {account.what: account.clients for account in accounts if account.clients} == {
        "sent to stream": 2,
        "sent to native": 1,
        "ok": 1,
        "cancelled": 1,
        "rejected": 1,
        "rejected: queue_full": 1,
        "pictures": 3,
    }
    assert all(account.agrees for account in accounts)
    assert problems([], accounts) == []


def test_what_happened_before_does_not_count(metrics: Metrics) -> None:
    metrics.requests.labels("ok").inc(100)
    before = counts_of(metrics)
    accounts = balance(count_some(metrics), before, counts_of(metrics))
    assert all(account.agrees for account in accounts)


def test_a_request_that_the_service_missed_shows(metrics: Metrics) -> None:
    before = counts_of(metrics)
    endings = [*count_some(metrics), make_ending(images=1)]
    accounts = balance(endings, before, counts_of(metrics))
    assert [account.what for account in accounts if not account.agrees] == ["sent to stream", "ok", "pictures"]
    assert "ok: 2 as the clients have it, 1 as the service has it" in problems(endings, accounts)


@pytest.mark.parametrize("name", AT_REST)
def test_what_must_be_at_rest_exists_and_shows_when_it_is_not(metrics: Metrics, name: str) -> None:
    metrics.requests_waiting.set(1)
    metrics.requests_running.set(1)
    metrics.stream_clients.inc()
    metrics.worker_restarts.labels("crash").inc()
    accounts = balance([], {}, counts_of(metrics))
    assert [account.service for account in accounts if account.what == name] == [1]


def test_losses_and_errors_are_problems_and_deadlines_are_none() -> None:
    endings = [
        make_ending(outcome="lost", reason="timeout"),
        make_ending(outcome="lost", reason="timeout"),
        make_ending(outcome="error", reason="engine_error"),
        make_ending(outcome="deadline"),
    ]
    assert problems(endings, []) == ["2 requests ended as lost: timeout", "1 requests ended as error: engine_error"]


def test_a_refusal_that_the_service_has_no_name_for_is_invalid() -> None:
    endings = [
        make_ending(outcome="rejected", reason="unsupported_media_type", images=0),
        make_ending(outcome="rejected", reason="queue_full", images=0),
    ]
    name = "latentcast_requests_rejected_total"
    accounts = balance(endings, {}, {(name, "invalid"): 1.0, (name, "queue_full"): 1.0, (name, "draining"): 0.0})
    assert [account for account in accounts if account.what.startswith("rejected: ")] == [
        Account(what="rejected: invalid", clients=1, service=1),
        Account(what="rejected: queue_full", clients=1, service=1),
    ]


def test_an_end_that_only_the_service_knows_shows(metrics: Metrics) -> None:
    metrics.requests.labels("error").inc()
    accounts = balance([], {}, counts_of(metrics))
    assert problems([], accounts) == ["error: 0 as the clients have it, 1 as the service has it"]


def test_the_services_counts_start_at_zero(metrics: Metrics) -> None:
    """So that the difference of two readings is right from the first request on."""
    names = {name for name, _ in counts_of(metrics)}
    for name in ("requests_received", "requests", "requests_rejected", "images"):
        assert f"latentcast_{name}_total" in names
