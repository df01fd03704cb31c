import msgspec
import pytest

from scheduler.messages import WorkerConfig
from tests.scheduler.harness import make_config


def test_a_configuration_survives_the_command_line() -> None:
    config = make_config(batching="call", fake_step_seconds=0.5)
    assert msgspec.json.decode(msgspec.json.encode(config), type=WorkerConfig) == config


@pytest.mark.parametrize(("field", "value"), [("max_rows", 1), ("call_batch", 0)])
def test_a_configuration_that_cannot_work_is_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{field} must be at least"):
        make_config(**{field: value})
