from itertools import pairwise

import pytest

from benchmarks.policy import (
    DEVICES,
    LOADS,
    POLICIES,
    SHARES,
    Load,
    Served,
    Simulation,
    joining_slowdown,
    share,
    single_size_throughput,
    throughput,
)
from scheduler.cost import CostModel

COSTS = CostModel(DEVICES["steady"])
ONE_SIZE = {(256, 256): 1.0}


def test_a_lone_client_gets_the_device_to_himself() -> None:
    served = Simulation(COSTS, ONE_SIZE, Load(clients=1), seed=0).run(3)
    assert [each.seconds for each in served] == pytest.approx([20 * 0.0514] * 3)
    assert all(next_one.arrived_at == one.ended_at for one, next_one in pairwise(served))


def test_clients_share_their_steps() -> None:
    served = Simulation(COSTS, ONE_SIZE, Load(clients=4), seed=0).run(40)
    assert served[-1].seconds == pytest.approx(20 * 0.1528, rel=0.1)
    assert throughput(served) == pytest.approx(4 / (20 * 0.1528), rel=0.1)


def test_requests_come_at_a_rate_whether_served_or_not() -> None:
    slow, fast = (Simulation(COSTS, ONE_SIZE, Load(rate=rate), seed=0).run(200) for rate in (0.1, 10.0))
    assert throughput(slow) == pytest.approx(0.1, rel=0.2)
    assert throughput(fast) == pytest.approx(32 / 2 / (20 * 0.5792), rel=0.1)
    assert fast[-1].seconds > 10 * slow[-1].seconds


def test_the_same_seed_gives_the_same_run() -> None:
    runs = [Simulation(COSTS, SHARES, Load(clients=9), seed).run(50) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_throughput_leaves_out_the_ends_of_a_run() -> None:
    ends = [0.0, 50.0, *(50.0 + second for second in range(1, 18)), 1000.0]
    assert throughput([Served((64, 64), 0.0, end) for end in ends]) == pytest.approx(1.0)


def test_single_sizes_are_mixed_by_their_shares() -> None:
    """At the load of a lone client, a picture takes as long as its pixels say."""
    relative = sum(share * width * height for (width, height), share in SHARES.items()) / 256**2
    expected = 1 / (20 * 0.0514 * relative)
    assert single_size_throughput("steady", Load(clients=1), 20, seed=0) == pytest.approx(expected)


def test_shares_are_of_the_whole() -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("device", DEVICES)
def test_the_rarest_size_waits_at_most_twice_as_long_as_the_commonest(device: str) -> None:
    for load in LOADS[device]:
        assert share(device, "as it is", load, 1500, seed=0).rare_to_common <= 2


@pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy != "as it is"])
def test_each_alternative_misses_a_goal_that_is_met(policy: str) -> None:
    """At some load, either one size waits for more than twice as long as another, or more of the device is lost."""
    loads = [Load(clients=48), Load(clients=192)]
    chosen, others = ([share("wide", each, load, 1500, seed=0) for load in loads] for each in ("as it is", policy))
    assert all(0.5 <= each.rare_to_common <= 2 for each in chosen)
    pairs = zip(chosen, others, strict=True)
    losses = [1 - (other.throughput or 0.0) / (own.throughput or 0.0) for own, other in pairs]
    assert max(losses) > 0.05 or not all(0.5 <= other.rare_to_common <= 2 for other in others)


@pytest.mark.parametrize("device", DEVICES)
def test_a_short_request_that_joins_long_ones_waits_for_one_step_at_most(device: str) -> None:
    slowdown = joining_slowdown(CostModel(DEVICES[device]), (256, 256), num_requests=8)
    assert 1 < slowdown <= 5 / 4
