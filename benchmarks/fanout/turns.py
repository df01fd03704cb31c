"""CPU time of ways to write, which take turns in one thread of one process: whatever disturbs hits all alike."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence

from benchmarks.fanout.processes import connected_to
from benchmarks.fanout.ways import WAYS, Nothing, Way

SETTLE = 10  # turns of the event loop until all that was sent has been handed to the kernel
PAUSE_SECONDS = 0.002  # for the readers


class Turns:
    """`ways` by name, each with `count` streams that are being read."""

    def __init__(self, ways: Mapping[str, Way], count: int) -> None:
        self._ways = {"nothing": Nothing(), **ways}
        self._count = count

    async def round(self, seconds: float) -> dict[str, float]:
        """Seconds of CPU time that each way took for one event to one stream, without what measuring takes."""
        spent = dict.fromkeys(self._ways, 0.0)
        num_turns, ends_at = 0, time.monotonic() + seconds
        while num_turns == 0 or time.monotonic() < ends_at:
            num_turns += 1
            for name, way in self._ways.items():
                spent[name] += await _turn(way)
                await asyncio.sleep(PAUSE_SECONDS)
        return {
            name: (spent[name] - spent["nothing"]) / num_turns / self._count for name in self._ways if name != "nothing"
        }


async def _turn(way: Way) -> float:
    began = time.thread_time()
    await way.send()
    for _ in range(SETTLE):
        await asyncio.sleep(0)
    return time.thread_time() - began


@contextlib.asynccontextmanager
async def open_turns(names: Sequence[str], frame: bytes, count: int) -> AsyncIterator[Turns]:
    """Serves those ways in this process, and connects their readers. Raises `FanoutError`."""
    async with contextlib.AsyncExitStack() as stack:
        ways = {name: WAYS[name](frame) for name in names}
        for way in ways.values():
            await stack.enter_async_context(way.serving())
            await stack.enter_async_context(connected_to(way.url, count))
        yield Turns(ways, count)
