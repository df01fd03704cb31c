import uvloop

from benchmarks.fanout.events import preview_frame
from benchmarks.fanout.turns import Turns, open_turns


class Busy:
    """Spends time on every turn."""

    url = ""
    num_listening = 1

    async def send(self) -> None:
        sum(range(200_000))


def test_what_measuring_takes_is_left_out() -> None:
    costs = uvloop.run(Turns({"busy": Busy()}, count=1).round(seconds=0))
    assert list(costs) == ["busy"]
    assert costs["busy"] > 0


def test_each_way_has_its_cost_for_one_event() -> None:
    async def measure() -> dict[str, float]:
        async with open_turns(["bare", "write_frame"], preview_frame(1000), count=2) as turns:
            return await turns.round(seconds=0.05)

    costs = uvloop.run(measure())
    assert list(costs) == ["bare", "write_frame"]
    assert all(cost > 0 for cost in costs.values())
