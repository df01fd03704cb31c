import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from benchmarks.fanout.wheel import TICK_SECONDS, Wheel


class Turn(NamedTuple):
    members: list[str]
    due: float
    came_at: float


async def turns(wheel: Wheel[str], num_sends: int, stand_still: float = 0.0) -> list[Turn]:
    """The first so many; the process stands still for so long during the first one."""
    done: list[Turn] = []
    enough = asyncio.Event()

    async def send(members: Sequence[str], due: float) -> None:
        done.append(Turn(list(members), due, time.monotonic()))
        if len(done) == 1:
            time.sleep(stand_still)  # noqa: ASYNC251 - nothing else must run
        if len(done) == num_sends:
            enough.set()

    turning = asyncio.create_task(wheel.run(send))
    await enough.wait()
    turning.cancel()
    return done[:num_sends]


async def turn(wheel: Wheel[str], num_sends: int) -> list[list[str]]:
    """The first so many groups that have their turn together."""
    return [each.members for each in await turns(wheel, num_sends)]


async def test_turns_come_when_they_are_due_and_not_before() -> None:
    wheel: Wheel[str] = Wheel(interval=TICK_SECONDS)
    wheel.add("a")
    one, two = await turns(wheel, num_sends=2)
    assert one.came_at >= one.due
    assert two.came_at >= two.due
    assert two.due - one.due >= 0.99 * TICK_SECONDS


async def test_late_turns_are_caught_up_on_up_to_a_whole_interval() -> None:
    wheel: Wheel[str] = Wheel(interval=10 * TICK_SECONDS)
    for name in "abcdefghij":
        wheel.add(name)
    began, *late = await turns(wheel, num_sends=7, stand_still=6 * TICK_SECONDS)
    assert [round((each.due - began.due) / TICK_SECONDS) for each in late] == [1, 2, 3, 4, 5, 6]
    began, after = await turns(wheel, num_sends=2, stand_still=25 * TICK_SECONDS)
    assert after.came_at - after.due >= 10 * TICK_SECONDS
    assert after.due - began.due >= 14.9 * TICK_SECONDS


async def test_everybody_has_a_turn_in_every_interval() -> None:
    wheel: Wheel[str] = Wheel(interval=2 * TICK_SECONDS)
    for name in "abcdef":
        wheel.add(name)
    groups = await turn(wheel, num_sends=4)
    assert {len(group) for group in groups} == {3}
    assert Counter(name for group in groups for name in group) == dict.fromkeys("abcdef", 2)


async def test_who_has_left_has_no_more_turns() -> None:
    wheel: Wheel[str] = Wheel(interval=TICK_SECONDS)
    for name in "ab":
        wheel.add(name)
    wheel.discard("a")
    wheel.discard("unknown")
    assert await turn(wheel, num_sends=2) == [["b"], ["b"]]


@pytest.mark.parametrize("interval", [0.0, 0.001])
async def test_the_shortest_interval_is_a_tick(interval: float) -> None:
    wheel: Wheel[str] = Wheel(interval)
    wheel.add("a")
    assert await turn(wheel, num_sends=2) == [["a"], ["a"]]
