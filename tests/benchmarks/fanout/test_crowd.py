"""A crowd of generations, some of which have found room."""

import asyncio

from benchmarks.fanout.crowd import Crowd
from tests.service.harness import eventually


async def test_those_that_find_room_start_and_the_others_wait() -> None:
    """Each takes two rows."""
    crowd = Crowd(max_rows=4)
    async with asyncio.timeout(20), crowd.open():
        generations = [crowd.admit() for _ in range(3)]
        await eventually(lambda: generations[1].status == "running")
        assert [each.status for each in generations] == ["running", "running", "queued"]


async def test_a_cancelled_one_leaves_its_room() -> None:
    crowd = Crowd(max_rows=2)
    async with asyncio.timeout(20), crowd.open():
        first = crowd.admit()
        await eventually(lambda: first.status == "running")
        await crowd.cancel(first)
        assert first.status == "cancelled"
        second = crowd.admit()
        await eventually(lambda: second.status == "running")


async def test_their_sizes_take_turns() -> None:
    crowd = Crowd(max_rows=2)
    async with asyncio.timeout(20), crowd.open():
        widths = [crowd.admit().params.width for _ in range(7)]
    assert len(set(widths)) == 6
    assert widths[0] == widths[6]


async def test_all_end_with_the_crowd() -> None:
    crowd = Crowd(max_rows=2)
    async with asyncio.timeout(20), crowd.open():
        generations = [crowd.admit() for _ in range(3)]
    assert all(each.is_over for each in generations)
