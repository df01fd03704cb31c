import pytest

from scheduler.cost import request_cost, step_pixels
from scheduler.fake_engine import FakeEngine
from tests.scheduler.harness import make_config, make_params


@pytest.mark.parametrize(
    ("changes", "cost"),
    [
        ({"guidance_scale": 1.0, "num_steps": 1}, 1.0),
        ({"guidance_scale": 5.0, "num_steps": 1}, 2.0),
        ({"guidance_scale": 5.0, "num_steps": 20}, 40.0),
        ({"guidance_scale": 1.0, "num_steps": 10, "width": 128}, 5.0),
        ({"guidance_scale": 1.0, "num_steps": 10, "width": 512, "height": 512}, 40.0),
    ],
)
def test_cost_counts_row_steps_at_the_models_own_size(changes: dict[str, float], cost: float) -> None:
    info = FakeEngine(make_config()).info
    assert request_cost(make_params(**{"width": 256, "height": 256, **changes}), info) == pytest.approx(cost)


def test_a_step_costs_rows_times_pixels() -> None:
    assert step_pixels(make_params(width=64, height=128, guidance_scale=5.0)) == 2 * 64 * 128
