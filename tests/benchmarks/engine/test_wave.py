from benchmarks.engine.wave import run_wave
from benchmarks.engine.workbench import Workbench


def test_a_wave_ends_with_its_last_picture(bench: Workbench) -> None:
    wave = run_wave(bench, bench.params(num_steps=2), count=3)
    assert len(wave.finished) == 3
    assert 0 < max(wave.latencies) <= wave.seconds
