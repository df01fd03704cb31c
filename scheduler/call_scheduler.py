"""Batches for `--batching call`: requests that can share one pipeline call, gathered for a moment."""

from collections.abc import Sequence

from scheduler.cost import CostModel
from scheduler.request import Request, call_key
from scheduler.scheduler import Group, Scheduler


class CallScheduler(Scheduler):
    """Gathers requests with equal call keys until a batch is full or its oldest has waited `max_wait` seconds.

    Of several batches that could go, the one with the lowest rank goes. So every call that goes before a request that
    is due takes at least one of lower rank with it, and of those there are as many as `Scheduler` says: nobody starves.
    """

    def __init__(self, cost: CostModel, max_batch: int, max_wait: float) -> None:
        super().__init__(cost)
        self._max_batch = max_batch
        self._max_wait = max_wait

    def schedule(self, now: float) -> Sequence[Request]:
        self._forget_idle_groups()
        due = [group for group in self._groups.values() if group.waiting and self._seconds_to_due(group, now) <= 0]
        if not due:
            return []
        group = min(due, key=lambda group: group.waiting[0].rank)
        batch = group.waiting[: self._capacity(group)]
        for request in batch:
            self._start(request, now)
        return batch

    def seconds_to_next(self, now: float) -> float | None:
        times = [self._seconds_to_due(group, now) for group in self._groups.values() if group.waiting]
        return max(0.0, min(times)) if times else None

    _key = staticmethod(call_key)

    def _capacity(self, group: Group) -> int:
        """How many requests a call may take; those of a group all have the same number of rows."""
        return min(self._max_batch, self.max_rows(group.pixels) // group.waiting[0].params.num_rows)

    def _seconds_to_due(self, group: Group, now: float) -> float:
        if len(group.waiting) >= self._capacity(group):
            return 0.0
        return min(request.arrived_at for request in group.waiting) + self._max_wait - now
