import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from benchmarks.fanout.wheel import TICK_SECONDS, Wheel


async def turn(wheel: Wheel[str], num_sends: int) -> list[list[str]]:
    """The first so many groups that have their turn together."""
    groups: list[list[str]] = []
    done = asyncio.Event()

    async def send(members: Sequence[str]) -> None:
        groups.append(list(members))
        if len(groups) == num_sends:
            done.set()

    turning = asyncio.create_task(wheel.run(send))
    await done.wait()
    turning.cancel()
    return groups[:num_sends]


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
