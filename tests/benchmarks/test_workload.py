from itertools import islice, pairwise

import pytest

from benchmarks.workload import Workload, poisson_arrivals

MIXED = Workload(steps=(4, 20), guidance=(1.0, 5.0), sizes=((256, 256), (320, 192)), seed=3)


def test_arrivals_are_the_same_for_a_seed() -> None:
    first, again, other = (list(islice(poisson_arrivals(2.0, seed), 50)) for seed in (1, 1, 2))
    assert first == again != other


def test_arrivals_come_at_the_rate_and_independently() -> None:
    times = list(islice(poisson_arrivals(4.0, seed=0), 20_000))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.25, rel=0.03)
    assert deviation == pytest.approx(mean, rel=0.03)  # of an exponential distribution both are equal


def test_a_request_is_the_same_for_a_seed_and_differs_from_the_next() -> None:
    assert MIXED.body(5) == MIXED.body(5)
    assert MIXED.body(5)["seed"] != MIXED.body(6)["seed"]


def test_options_are_mixed_independently() -> None:
    bodies = [MIXED.body(index) for index in range(200)]
    mixes = {(body["num_inference_steps"], body["guidance_scale"], body["width"], body["height"]) for body in bodies}
    assert len(mixes) == 8
    assert len({body["prompt"] for body in bodies}) > 100


def test_the_size_is_left_to_the_model_by_default() -> None:
    assert "width" not in Workload().body(0)
