import pytest

from scheduler.request import BatchKey, CallKey, Request, Status, batch_key, call_key
from tests.scheduler.harness import make_params


@pytest.mark.parametrize(("guidance_scale", "num_rows"), [(0.0, 1), (1.0, 1), (1.01, 2), (7.5, 2)])
def test_guidance_above_one_takes_a_second_row(guidance_scale: float, num_rows: int) -> None:
    assert make_params(guidance_scale=guidance_scale).num_rows == num_rows


@pytest.mark.parametrize(
    ("preview_every", "num_steps", "due"),
    [(5, 20, [0, 5, 10, 15]), (1, 4, [0, 1, 2]), (0, 4, []), (5, 1, []), (5, 6, [0]), (50, 20, [0])],
)
def test_previews_are_due_from_the_first_step_but_not_after_the_last(
    preview_every: int, num_steps: int, due: list[int]
) -> None:
    params = make_params(preview_every=preview_every, num_steps=num_steps)
    assert [index for index in range(num_steps) if params.preview_due(index)] == due


def test_only_the_size_must_agree_to_share_a_step() -> None:
    one = make_params(num_steps=4, guidance_scale=1.0, seed=1, negative_prompt=None)
    other = make_params(num_steps=30, guidance_scale=9.0, seed=2, negative_prompt="")
    assert batch_key(one) == batch_key(other) == BatchKey(height=64, width=64)
    assert batch_key(make_params(width=128)) != batch_key(one)


def test_a_call_needs_more_in_common() -> None:
    params = make_params(negative_prompt="")
    assert call_key(params) == CallKey(64, 64, 4, 5.0, has_negative_prompt=True)
    for change in ({"num_steps": 5}, {"guidance_scale": 4.0}, {"negative_prompt": None}, {"height": 128}):
        assert call_key(make_params(**{"negative_prompt": "", **change})) != call_key(params)


@pytest.mark.parametrize("status", Status)
def test_a_request_is_live_until_it_ends(status: Status) -> None:
    request = Request("a", make_params(), status=status)
    assert request.is_live is (status in {Status.WAITING, Status.RUNNING})
