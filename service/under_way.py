"""Generations that are not over: who waits, who runs, and how much work that is, without a walk through all of them."""

from collections import Counter
from collections.abc import Iterator

from scheduler.cost import CostModel
from scheduler.messages import Finished
from service.generation import Generation, Image


class UnderWay:
    """Each change is told here, and kept in whole numbers: sums of them stay exact, whatever comes and goes."""

    def __init__(self) -> None:
        self.waiting: dict[str, Generation] = {}  # in order of arrival
        self.running: dict[str, Generation] = {}  # in order of their start
        self._num_going_on: Counter[str | None] = Counter()  # by owner
        self._waiting_work: Counter[int] = Counter()  # row-steps by pixels, of generations that wait
        self._running_work: Counter[int] = Counter()  # row-steps left, of those that run
        self._running_rows = 0  # of their images that are not finished

    def get(self, generation_id: str) -> Generation | None:
        return self.waiting.get(generation_id) or self.running.get(generation_id)

    def count(self, owner: str) -> int:
        """How many of that owner are not about to be over."""
        return self._num_going_on[owner]

    def add(self, generation: Generation) -> None:
        """It has arrived, and waits."""
        self.waiting[generation.id] = generation
        self._num_going_on[generation.owner] += 1
        _change(self._waiting_work, generation.params.pixels, generation.row_steps_left)

    def start(self, generation: Generation) -> None:
        self._take_from_waiting(generation)
        self.running[generation.id] = generation
        self._running_rows += generation.num_rows_left
        _change(self._running_work, generation.params.pixels, generation.row_steps_left)

    def progress(self, image: Image, step: int) -> None:
        """So many steps of one that runs are made."""
        _change(self._running_work, image.params.pixels, (image.step - step) * image.params.num_rows)
        image.step = step

    def finish(self, image: Image, picture: Finished) -> None:
        """All its steps are made, and it takes part in none any more."""
        self.progress(image, image.params.num_steps)
        self._running_rows -= image.params.num_rows
        image.finished = picture

    def expect_end(self, generation: Generation) -> None:
        """It is about to be over."""
        self._num_going_on[generation.owner] -= 1

    def remove(self, generation: Generation) -> None:
        """It is over."""
        if generation.cancel_cause is None:
            self.expect_end(generation)
        if generation.id in self.waiting:
            self._take_from_waiting(generation)
        else:
            del self.running[generation.id]
            self._running_rows -= generation.num_rows_left
            _change(self._running_work, generation.params.pixels, -generation.row_steps_left)

    def queue_cost(self, costs: CostModel, room: int) -> float:
        """Of all that waits to start, and of all that has started and is not among the first `room` rows.

        Sizes take turns, so each size may have a full batch under way.
        """
        work = self._waiting_work.copy()
        if self._running_rows > room:
            work.update(self._running_work)
            work.subtract(self._work_in_room(room))
        return sum(row_steps * costs.row_cost(pixels) for pixels, row_steps in work.items())

    def _work_in_room(self, room: int) -> Counter[int]:
        """Of the first to start, for as long as they find room."""
        work: Counter[int] = Counter()
        for image in self._unfinished():
            room -= image.params.num_rows
            if room < 0:
                break
            work[image.params.pixels] += image.row_steps_left
        return work

    def _unfinished(self) -> Iterator[Image]:
        return (image for each in self.running.values() for image in each.images if not image.finished)

    def _take_from_waiting(self, generation: Generation) -> None:
        del self.waiting[generation.id]
        _change(self._waiting_work, generation.params.pixels, -generation.row_steps_left)


def _change(work: Counter[int], pixels: int, row_steps: int) -> None:
    """Sizes without any work are left out."""
    work[pixels] += row_steps
    if not work[pixels]:
        del work[pixels]
