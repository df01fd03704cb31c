import asyncio

from scheduler.bell import Bell


async def test_ringing_wakes_who_waits() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring()
    bell.ring()
    await waiting


async def test_it_rings_for_nobody_in_vain() -> None:
    bell = Bell()
    bell.ring()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring()
    await waiting


async def test_it_may_ring_after_the_one_who_waited_was_cancelled() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    bell.ring()
    assert waiting.cancelled()
