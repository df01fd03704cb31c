"""Counts that follow each change, against what a walk through all generations would find."""

import itertools
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scheduler.cost import CostModel
from scheduler.messages import Finished
from service.generation import Generation, Image
from service.under_way import UnderWay
from tests.info import make_info
from tests.service.harness import make_generation

COSTS = CostModel(make_info())
ROOM = 8
OWNERS = ("alice", "bob")


def make_finished() -> Finished:
    return Finished("one", 64, 64, "image/jpeg", b"", prompt_truncated=False, timings={})


def cost_of(row_steps: int, side: int = 64) -> float:
    return row_steps * COSTS.row_cost(side * side)


def waiting(*generations: Generation) -> UnderWay:
    under_way = UnderWay()
    for each in generations:
        under_way.add(each)
    return under_way


def running(*generations: Generation) -> UnderWay:
    under_way = waiting(*generations)
    for each in generations:
        under_way.start(each)
    return under_way


def test_all_that_waits_counts() -> None:
    """Four steps of two rows for each image."""
    under_way = waiting(make_generation("one"), make_generation("two", num_images=2))
    assert under_way.queue_cost(COSTS, ROOM) == cost_of(8 + 16)


def test_a_larger_picture_counts_for_more() -> None:
    under_way = waiting(make_generation("one"), make_generation("two", width=128, height=128))
    assert under_way.queue_cost(COSTS, ROOM) == cost_of(8) + cost_of(8, side=128)
    assert cost_of(8, side=128) > cost_of(8)


def test_what_runs_counts_only_where_it_finds_no_room() -> None:
    under_way = running(make_generation("one"), make_generation("two"), make_generation("three"))
    assert under_way.queue_cost(COSTS, room=6) == 0
    assert under_way.queue_cost(COSTS, room=5) == cost_of(8)
    assert under_way.queue_cost(COSTS, room=0) == cost_of(24)


def test_only_the_steps_that_are_left_count() -> None:
    generation = make_generation("one", num_images=2)
    under_way = running(generation)
    under_way.progress(generation.images[0], 3)
    assert generation.images[0].step == 3
    assert under_way.queue_cost(COSTS, room=0) == cost_of(2 + 8)


def test_a_finished_image_leaves_its_room_to_others() -> None:
    one, two = make_generation("one"), make_generation("two")
    under_way = running(one, two)
    under_way.finish(one.images[0], make_finished())
    assert (one.images[0].step, one.images[0].finished) == (4, make_finished())
    assert under_way.queue_cost(COSTS, room=2) == 0


def test_nothing_is_left_of_those_that_are_over() -> None:
    one, two = make_generation("one"), make_generation("two", num_images=3)
    under_way = waiting(one, two)
    under_way.start(two)
    under_way.progress(two.images[1], 3)
    under_way.finish(two.images[2], make_finished())
    under_way.remove(one)
    under_way.remove(two)
    assert under_way.queue_cost(COSTS, room=0) == 0
    assert (under_way.waiting, under_way.running, under_way.get("one")) == ({}, {}, None)


def test_an_owner_has_those_that_are_not_about_to_be_over() -> None:
    one, two, three = (owned_by("alice", name) for name in ("one", "two", "three"))
    under_way = waiting(one, two, three)
    two.cancel_cause = "api"
    under_way.expect_end(two)
    assert (under_way.count("alice"), under_way.count("bob")) == (2, 0)
    under_way.remove(two)
    under_way.remove(three)
    assert under_way.count("alice") == 1


def owned_by(owner: str, name: str, num_images: int = 1, **fields: Any) -> Generation:
    return Generation(name, make_generation(name, num_images, **fields).images, grace=None, owner=owner)


class AnyTraffic(RuleBasedStateMachine):
    """Generations of all kinds come, go on and end in any order."""

    @initialize()
    def nothing_yet(self) -> None:
        self.under_way = UnderWay()
        self.names = map(str, itertools.count())

    @rule(
        owner=st.sampled_from(OWNERS),
        num_images=st.integers(1, 4),
        side=st.sampled_from([64, 128]),
        scale=st.sampled_from([1.0, 5.0]),
    )
    def arrive(self, owner: str, num_images: int, side: int, scale: float) -> None:
        fields = {"width": side, "height": side, "guidance_scale": scale, "num_steps": 9}
        self.under_way.add(owned_by(owner, next(self.names), num_images, **fields))

    @precondition(lambda self: self.under_way.waiting)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        self.under_way.start(data.draw(st.sampled_from(list(self.under_way.waiting.values()))))

    @precondition(lambda self: self.unfinished())
    @rule(data=st.data(), step=st.integers(1, 8))
    def progress(self, data: st.DataObject, step: int) -> None:
        """Also back to an earlier step, as after a restart."""
        self.under_way.progress(data.draw(st.sampled_from(self.unfinished())), step)

    @precondition(lambda self: self.unfinished())
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.under_way.finish(data.draw(st.sampled_from(self.unfinished())), make_finished())

    @precondition(lambda self: self.going_on())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        generation = data.draw(st.sampled_from(self.going_on()))
        generation.cancel_cause = "api"
        self.under_way.expect_end(generation)

    @precondition(lambda self: self.all())
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.under_way.remove(data.draw(st.sampled_from(self.all())))

    def all(self) -> list[Generation]:
        return [*self.under_way.waiting.values(), *self.under_way.running.values()]

    def going_on(self) -> list[Generation]:
        return [each for each in self.all() if each.cancel_cause is None]

    def unfinished(self) -> list[Image]:
        return [image for each in self.under_way.running.values() for image in each.images if not image.finished]

    @invariant()
    def what_a_walk_would_find(self) -> None:
        rows = itertools.accumulate(image.params.num_rows for image in self.unfinished())
        resting = [image for image, used in zip(self.unfinished(), rows, strict=True) if used > ROOM]
        images = [image for each in self.under_way.waiting.values() for image in each.images] + resting
        work = {side: sum(each.row_steps_left for each in images if each.params.width == side) for side in (64, 128)}
        cost = sum(cost_of(row_steps, side) for side, row_steps in work.items())
        assert abs(self.under_way.queue_cost(COSTS, ROOM) - cost) <= 1e-9 * cost
        for owner in OWNERS:
            assert self.under_way.count(owner) == sum(each.owner == owner for each in self.going_on())


TestAnyTraffic = AnyTraffic.TestCase
TestAnyTraffic.settings = settings(max_examples=40, deadline=None, stateful_step_count=30)
