"""Steps are put together in time and not before: on a simulated device, with the real loop and scheduler."""

from collections.abc import Callable

import pytest

from scheduler import loop
from scheduler.engine import DeviceLost
from scheduler.loop import COLLECT_SECONDS
from scheduler.messages import Abort
from scheduler.sdxl.pace import ENOUGH, MARGIN_SECONDS, MOST_KINDS, MOST_LEAD, POLL_SECONDS, Kind, Pace
from tests.sdxl.drive import make_request
from tests.sdxl.simulated import Clock, Device, Simulation

STEP = 0.1
SMALL, LARGE = Kind(num_rows=2, pixels=64 * 64), Kind(num_rows=8, pixels=128 * 128)

Simulate = Callable[..., Simulation]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def device(clock: Clock) -> Device:
    return Device(clock)


@pytest.fixture
def pace(device: Device) -> Pace:
    return Pace(device.mark, device.clock.monotonic)


@pytest.fixture
def simulate(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """Launching a step takes the program `launch` seconds, computing it takes the device `step`."""
    monkeypatch.setattr(loop, "time", clock)
    return lambda launch=0.01, step=STEP: Simulation(clock, step, launch)


def launch(pace: Pace, device: Device, kind: Kind = SMALL, step: float = STEP, takes: float = 0.01) -> None:
    pace.begin()
    device.compute(step, takes)
    pace.end(kind)


def learn(pace: Pace, device: Device, kind: Kind = SMALL, step: float = STEP, takes: float = 0.01) -> None:
    """Of as many steps as it takes, which are over when this returns."""
    for _ in range(ENOUGH):
        launch(pace, device, kind, step, takes)
        device.clock.now = device.free_at
        assert pace.seconds_to_spare() == 0.0


def test_a_device_without_work_gets_some_at_once(pace: Pace, device: Device) -> None:
    assert pace.seconds_to_spare() == 0.0
    learn(pace, device)
    assert pace.seconds_to_spare() == 0.0


def test_behind_a_step_of_a_kind_that_is_hardly_known_comes_the_next_at_once(pace: Pace, device: Device) -> None:
    learn(pace, device, SMALL)
    for _ in range(ENOUGH):
        launch(pace, device, LARGE)
        assert pace.seconds_to_spare() == 0.0
        device.clock.now = device.free_at
    launch(pace, device, LARGE)
    assert pace.seconds_to_spare() > 0.0


def test_behind_a_step_that_is_known_the_next_is_launched_before_it_ends(pace: Pace, device: Device) -> None:
    learn(pace, device)
    launch(pace, device)
    assert pace.seconds_to_spare() == pytest.approx(STEP - 0.01 - 0.01 - MARGIN_SECONDS)  # two launches: its, the next
    device.clock.now += 0.07
    assert pace.seconds_to_spare() == pytest.approx(STEP - 0.07 - 0.01 - 0.01 - MARGIN_SECONDS)
    device.clock.now += 0.01
    assert pace.seconds_to_spare() == 0.0


def test_a_long_launch_begins_when_most_of_the_step_is_over(pace: Pace, device: Device) -> None:
    """Where the device's queue is full, it takes as long as the device wants."""
    learn(pace, device, takes=0.06)
    launch(pace, device, takes=0.06)
    assert pace.seconds_to_spare() == pytest.approx(STEP - 0.06 - STEP * MOST_LEAD - MARGIN_SECONDS)


def test_one_step_is_behind_the_one_that_is_computed_and_no_more(pace: Pace, device: Device) -> None:
    for _ in range(2):
        launch(pace, device)
    assert pace.seconds_to_spare() == POLL_SECONDS
    first, _ = device.spans
    launch(pace, device)  # by someone who does not ask
    assert device.clock.now == pytest.approx(first.ended_at + 0.01)


def test_kinds_are_told_apart_by_rows_and_by_pixels(pace: Pace, device: Device) -> None:
    seconds = {Kind(2, 64): 0.1, Kind(4, 64): 0.2, Kind(2, 128): 0.3}
    assert pace.seconds(Kind(2, 64)) == 0.0
    for kind, step in seconds.items():
        learn(pace, device, kind, step)
    assert [pace.seconds(kind) for kind in seconds] == pytest.approx(list(seconds.values()))


def test_of_many_kinds_those_that_came_last_are_known(pace: Pace, device: Device) -> None:
    kinds = [Kind(2, pixels) for pixels in range(MOST_KINDS)]
    for kind in [*kinds, kinds[0], LARGE]:
        launch(pace, device, kind)
    device.clock.now = device.free_at
    pace.begin()
    assert [kind for kind in [*kinds, LARGE] if not pace.seconds(kind)] == [kinds[1]]


def test_a_step_is_expected_to_take_as_little_as_one_did_lately(pace: Pace, device: Device) -> None:
    for step in (0.1, 0.16):
        learn(pace, device, step=step)
    assert pace.seconds(SMALL) == pytest.approx(0.16)
    launch(pace, device)
    assert pace.seconds_to_spare() == pytest.approx(0.1 - 0.01 - 0.01 - MARGIN_SECONDS)
    device.clock.now = device.free_at
    for _ in range(2):
        learn(pace, device, step=0.16)
    launch(pace, device)
    assert pace.seconds_to_spare() == pytest.approx(0.16 - 0.01 - 0.01 - MARGIN_SECONDS)


def test_when_a_step_ended_is_known_though_nobody_looked(pace: Pace, device: Device) -> None:
    """The next one began then, so it is known when that will end."""
    learn(pace, device)
    launch(pace, device)
    device.clock.now = device.free_at - 0.01
    launch(pace, device, takes=0.05)
    device.clock.now += 0.02
    assert pace.seconds_to_spare() == pytest.approx(STEP - 0.04 - 0.02 - STEP * MOST_LEAD - MARGIN_SECONDS)


def test_a_device_that_is_lost_is_told_of(pace: Pace, device: Device) -> None:
    for _ in range(2):
        launch(pace, device)
    device.is_lost = True
    with pytest.raises(DeviceLost, match="illegal memory access"):
        pace.seconds_to_spare()
    with pytest.raises(DeviceLost, match="illegal memory access"):
        pace.begin()


class TestTheLoop:
    @pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.8])
    @pytest.mark.parametrize("launch", [0.001, 0.01, 0.06])
    def test_who_arrives_during_a_step_is_in_the_next_one(
        self, share: float, launch: float, simulate: Simulate
    ) -> None:
        simulation = simulate(launch)
        start, step_index = simulation.clock.now, 5
        during = step_index * STEP + share * STEP
        simulation.run([(0.0, make_request("early", num_steps=10)), (during, make_request("late", num_steps=2))])
        running = simulation.device.spans[step_index]
        assert running.began_at < start + during < running.ended_at
        batches = simulation.engine.batches
        assert batches[: step_index + 2] == [*[["early"]] * (step_index + 1), ["early", "late"]]

    def test_a_preview_is_told_of_when_its_step_is_over(self, simulate: Simulate) -> None:
        simulation = simulate()
        simulation.run([(0.0, make_request("a", num_steps=8))])
        told = simulation.pictures()
        for steps_done, span in enumerate(simulation.device.spans[3:], start=4):
            assert span.ended_at <= told["a", steps_done] <= span.ended_at + simulation.engine.launch_seconds

    def test_a_request_that_is_cancelled_is_out_of_the_next_step(self, simulate: Simulate) -> None:
        simulation = simulate()
        simulation.run(
            [
                (0.0, make_request("cancelled", num_steps=20)),
                (0.0, make_request("stays", num_steps=8)),
                (5.5 * STEP, Abort("cancelled")),
            ]
        )
        assert simulation.engine.batches == [*[["cancelled", "stays"]] * 6, *[["stays"]] * 2]

    @pytest.mark.parametrize("launch", [0.0, 0.001, 0.01, 0.03, 0.06, 0.095])
    def test_a_device_never_waits_for_a_program_that_is_faster(self, launch: float, simulate: Simulate) -> None:
        simulation = simulate(launch)
        simulation.run([(0.0, make_request("a", num_steps=40))])
        assert simulation.device.idle_seconds() == pytest.approx(0.0)
        seconds = simulation.device.spans[-1].ended_at - simulation.device.spans[0].began_at
        assert seconds == pytest.approx(40 * STEP)

    @pytest.mark.parametrize("launch", [0.1, 0.15, 0.5])
    def test_a_program_that_is_slower_never_waits(self, launch: float, simulate: Simulate) -> None:
        simulation = simulate(launch)
        start = simulation.clock.now
        simulation.run([(0.0, make_request("a", num_steps=10))])
        assert simulation.clock.now - start == pytest.approx(10 * launch, abs=COLLECT_SECONDS)

    def test_sizes_that_take_turns_are_each_launched_in_time(self, simulate: Simulate) -> None:
        simulation = simulate()
        simulation.run([(0.0, make_request("small", num_steps=9)), (0.0, make_request("large", width=128, height=128))])
        assert simulation.device.idle_seconds() == pytest.approx(0.0)

    def test_a_step_that_is_slow_once_keeps_the_device_busy(
        self, simulate: Simulate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A picture that is decoded beside it takes some of the device."""
        simulation = simulate()
        compute = simulation.device.compute

        def contend(seconds: float, launch_seconds: float) -> None:
            compute(seconds * (1.5 if len(simulation.device.spans) % 4 == 0 else 1.0), launch_seconds)

        monkeypatch.setattr(simulation.device, "compute", contend)
        simulation.run([(0.0, make_request("a", num_steps=20))])
        assert simulation.device.idle_seconds() == pytest.approx(0.0)

    def test_steps_that_become_faster_are_noticed_at_the_first(
        self, simulate: Simulate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        simulation = simulate()
        compute = simulation.device.compute

        def hurry(seconds: float, launch_seconds: float) -> None:
            compute(seconds if len(simulation.device.spans) < 10 else seconds / 2, launch_seconds)

        monkeypatch.setattr(simulation.device, "compute", hurry)
        simulation.run([(0.0, make_request("a", num_steps=20))])
        assert 0 < simulation.device.idle_seconds() <= COLLECT_SECONDS
        assert simulation.device.idle_seconds(since=12) == pytest.approx(0.0)

    def test_after_a_rest_it_goes_on_as_before(self, simulate: Simulate) -> None:
        simulation = simulate()
        simulation.run([(0.0, make_request("a", num_steps=4)), (3.0, make_request("b", num_steps=4))])
        assert simulation.device.idle_seconds() == pytest.approx(3.0 - 4 * STEP)
        assert simulation.device.idle_seconds(since=5) == pytest.approx(0.0)

    def test_a_device_that_is_lost_ends_the_loop(self, simulate: Simulate) -> None:
        simulation = simulate()
        simulation.device.is_lost = True
        with pytest.raises(DeviceLost):
            simulation.run([(0.0, make_request("a"))])
