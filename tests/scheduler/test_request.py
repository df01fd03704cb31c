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


def test_previews_may_be_due_after_chosen_steps_instead() -> None:
    params = make_params(num_steps=20, preview_every=1, preview_steps=(7, 13, 20))
    assert [index + 1 for index in range(20) if params.preview_due(index)] == [7, 13]
    assert params.keeps_previews
    assert not make_params(num_steps=20).keeps_previews


def test_only_the_size_must_agree_to_share_a_step() -> None:
    one = make_params(num_steps=4, guidance_scale=1.0, seed=1, negative_prompt=None)
    other = make_params(num_steps=30, guidance_scale=9.0, seed=2, negative_prompt="")
    assert batch_key(one) == batch_key(other) == BatchKey(height=64, width=64)
    assert batch_key(make_params(width=128)) != batch_key(one)


def test_a_call_needs_more_in_common() -> None:
    key = call_key(make_params(negative_prompt="", sampler="ddim"))
    assert key == CallKey(
        height=64,
        width=64,
        num_steps=4,
        sampler="ddim",
        guidance_scale=5.0,
        guidance_rescale=0.0,
        original_size=None,
        target_size=None,
        crop=(0, 0),
        has_negative_prompt=True,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"height": 128},
        {"num_steps": 5},
        {"sampler": "lcm"},
        {"guidance_scale": 4.0},
        {"guidance_rescale": 0.7},
        {"original_size": (512, 512)},
        {"target_size": (512, 512)},
        {"crop": (0, 8)},
        {"negative_prompt": None},
    ],
    ids=str,
)
def test_what_a_call_takes_once_must_agree(change: dict[str, object]) -> None:
    assert call_key(make_params(**change)) != call_key(make_params())


@pytest.mark.parametrize("change", [{"prompt": "a house"}, {"seed": 1}, {"preview_every": 2}, {"priority": 1}], ids=str)
def test_what_a_call_takes_one_by_one_may_differ(change: dict[str, object]) -> None:
    assert call_key(make_params(**change)) == call_key(make_params())


def test_a_deadline_counts_from_the_arrival() -> None:
    assert Request("a", make_params(deadline=5.0), arrived_at=10.0).deadline_at == 15.0
    assert Request("a", make_params()).deadline_at is None


def test_guidance_takes_one_row_where_the_model_is_told_the_scale() -> None:
    assert make_params(guidance_scale=7.5, guidance_rows=1).num_rows == 1


@pytest.mark.parametrize("status", Status)
def test_a_request_is_live_until_it_ends(status: Status) -> None:
    request = Request("a", make_params(), status=status)
    assert request.is_live is (status in {Status.WAITING, Status.RUNNING, Status.DECODING})
