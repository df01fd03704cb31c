from benchmarks.engine.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def rounds_of(seconds: float, most: int, lengths: list[float]) -> int:
    """How many rounds of these lengths a pace allows."""
    clock = Clock()
    numbers = []
    for number in Pace(seconds, most, clock=clock).rounds():
        numbers.append(number)
        clock.now += lengths[number]
    assert numbers == list(range(len(numbers)))
    return len(numbers)


def test_as_many_rounds_as_fit() -> None:
    assert rounds_of(10.0, 99, [2.5] * 99) == 4


def test_no_round_that_would_end_too_late() -> None:
    assert rounds_of(10.0, 99, [3.0] * 99) == 3
    assert rounds_of(10.0, 99, [1.0, 5.0, 1.0, 1.0]) == 2


def test_one_round_in_any_case() -> None:
    assert rounds_of(0.0, 99, [5.0]) == 1


def test_never_more_rounds_than_asked_for() -> None:
    assert rounds_of(1000.0, 3, [1.0] * 3) == 3


def test_is_over_when_the_time_has_passed() -> None:
    clock = Clock()
    pace = Pace(2.0, 1, clock=clock)
    assert not pace.is_over
    clock.now += 2.0
    assert pace.is_over


def test_each_round_is_told() -> None:
    heard: list[str] = []
    assert list(Pace(1000.0, 2, heard.append).rounds()) == [0, 1]
    assert heard == ["round 1 of up to 2", "round 2 of up to 2"]
