"""Holds what clients saw against what the service counted: every request must be in both, with the same end."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.soak.visitor import Ending

Counts = Mapping[tuple[str, str], float]
"""Samples of the service's metrics by name and label (empty where it has none)."""

AT_REST = (
    "latentcast_requests_waiting",
    "latentcast_requests_running",
    "latentcast_stream_clients",
    "latentcast_worker_restarts_total",
)
"""What must be 0 when all is over."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One figure as the clients and as the service have it."""

    what: str
    clients: float
    service: float

    @property
    def agrees(self) -> bool:
        return self.clients == self.service


def read_metrics(text: str) -> Counts:
    """The text of `/metrics` -> its samples; those with several labels are added up by their first one."""
    counts: defaultdict[tuple[str, str], float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            label = next(iter(sample.labels.values()), "")
            counts[sample.name, label] += sample.value
    return counts


def balance(endings: Sequence[Ending], before: Counts, after: Counts) -> list[Account]:
    """What happened between two readings of the metrics, as both sides have it."""
    counts = {name: value - before.get(name, 0.0) for name, value in after.items()}
    rejected = [ending.reason for ending in endings if ending.outcome == "rejected"]
    reasons = _labels(counts, "latentcast_requests_rejected_total")
    reasons_as_counted = [reason if reason in reasons else "invalid" for reason in rejected]
    pictures = sum(ending.images for ending in endings)
    return [
        *_by_label("sent to {}", [each.route for each in endings], counts, "latentcast_requests_received_total"),
        *_by_label("{}", [each.outcome for each in endings], counts, "latentcast_requests_total"),
        *_by_label("rejected: {}", reasons_as_counted, counts, "latentcast_requests_rejected_total"),
        Account(what="pictures", clients=pictures, service=_total(counts, "latentcast_images_total")),
        *(Account(what=name, clients=0.0, service=_total(after, name)) for name in AT_REST),
    ]


def _by_label(what: str, seen: Sequence[str], counts: Counts, name: str) -> Iterator[Account]:
    """For every label that either side has counted."""
    clients = Counter(seen)
    for label in sorted({*_labels(counts, name), *clients}):
        account = Account(what=what.format(label), clients=clients[label], service=counts.get((name, label), 0.0))
        if account.clients or account.service:
            yield account


def _labels(counts: Counts, name: str) -> set[str]:
    return {label for sample, label in counts if sample == name}


def _total(counts: Counts, name: str) -> float:
    """Over all labels."""
    return sum(value for (sample, _), value in counts.items() if sample == name)


def problems(endings: Iterable[Ending], accounts: Iterable[Account]) -> list[str]:
    """What is unaccounted for, or went wrong without a reason that the traffic gave."""
    odd = Counter(f"{ending.outcome}: {ending.reason}" for ending in endings if ending.outcome in ("lost", "error"))
    return [
        *(f"{count} requests ended as {how}" for how, count in odd.items()),
        *(
            f"{account.what}: {account.clients:g} as the clients have it, {account.service:g} as the service has it"
            for account in accounts
            if not account.agrees
        ),
    ]
