from collections import Counter

import msgspec
import pytest

from benchmarks.soak.traffic import KINDS, OPTIONS, Order, Traffic
from scheduler.request import SAMPLERS
from service.errors import ApiError
from service.schemas import GenerateBody
from tests.info import make_info

TRAFFIC = Traffic(size=256, multiple=8)
ORDERS = [TRAFFIC.order(index) for index in range(2000)]
BODIES = [msgspec.json.decode(order.body) for order in ORDERS if order.kind != "invalid"]


def parse(order: Order) -> GenerateBody:
    return GenerateBody.parse(order.body, make_info())


def test_an_order_is_the_same_for_a_seed() -> None:
    assert TRAFFIC.order(7) == TRAFFIC.order(7)
    assert TRAFFIC.order(7) != Traffic(size=256, multiple=8, seed=1).order(7)


def test_kinds_come_as_often_as_they_should() -> None:
    counts = Counter(order.kind for order in ORDERS)
    assert all(counts[kind] == pytest.approx(20 * share, rel=0.35) for kind, share in KINDS.items())


@pytest.mark.parametrize("name", OPTIONS)
def test_every_value_of_an_option_is_asked_for(name: str) -> None:
    assert {body[name] for body in BODIES} == set(OPTIONS[name])


def test_all_samplers_and_nine_sizes_are_asked_for() -> None:
    assert {body["sampler"] for body in BODIES} == {None, *SAMPLERS}
    assert {(body["width"], body["height"]) for body in BODIES} == {
        (width, height) for width in (192, 256, 320) for height in (192, 256, 320)
    }


def test_the_service_takes_what_is_right() -> None:
    for order in ORDERS:
        if order.kind != "invalid":
            parse(order)


def test_the_service_refuses_what_is_wrong() -> None:
    wrong = [order for order in ORDERS if order.kind == "invalid" and order.content_type == "application/json"]
    too_large = [order for order in wrong if len(order.body) > 64 * 1024]
    assert too_large
    for order in wrong:
        if order not in too_large:
            with pytest.raises(ApiError):
                parse(order)
    assert len({order.body[:200] for order in wrong}) > 20
