import asyncio
import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from scheduler.client import Client, NotReady
from scheduler.messages import Cancelled, Failed, Finished, Ready, Report, Started, StepStats, WorkerConfig
from scheduler.placement.local import Backoff, LocalWorkers, StartError
from tests.scheduler.harness import TIMEOUT, collect, make_config, make_params

ROOT = Path(__file__).parents[2]


class Cell:
    """A client with worker processes, and what is known of them."""

    def __init__(self, config: WorkerConfig, count: int) -> None:
        self.ready: asyncio.Queue[str] = asyncio.Queue()
        self.progress: list[str] = []
        self.restarts: list[str] = []
        self.client = Client(self._listen)
        self.workers = LocalWorkers(config, count, self.client, self.progress.append, self.restarts.append)

    def _listen(self, name: str, report: Report) -> None:
        if isinstance(report, Ready):
            self.ready.put_nowait(name)

    async def next_ready(self) -> str:
        async with asyncio.timeout(TIMEOUT):
            return await self.ready.get()


@asynccontextmanager
async def running_cell(config: WorkerConfig | None = None, count: int = 1) -> AsyncIterator[Cell]:
    cell = Cell(config or make_config(), count)
    await cell.workers.start()
    try:
        async with asyncio.timeout(TIMEOUT):
            await cell.workers.ready()
        for _ in range(count):
            await cell.next_ready()
        yield cell
    finally:
        async with asyncio.timeout(TIMEOUT):
            await cell.workers.stop(timeout=0)


def wait_for_exit(pid: int, seconds: float) -> bool:
    """Whether the process, anybody's child, ends within that time."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def make_executable(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{textwrap.dedent(script)}")
    path.chmod(0o755)
    return str(path)


async def test_a_worker_process_paints() -> None:
    async with running_cell() as cell:
        story = await collect(cell.client.generate("a", make_params()))
        assert isinstance(story[-1], Finished)
        assert cell.progress == ["loading the fake engine"]
        assert len(cell.workers.pids) == 1


async def test_a_worker_is_told_its_threads_before_it_imports_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    script = "echo threads=$OMP_NUM_THREADS wait=$OMP_WAIT_POLICY >&2"
    executable = make_executable(tmp_path / "python", script)
    assert await start_and_fail(executable, monkeypatch) == "exit code 0 (threads= wait=passive)"
    assert await start_and_fail(executable, monkeypatch, threads=3) == "exit code 0 (threads=3 wait=passive)"


async def test_what_a_worker_remembers_of_shapes_is_bounded_unless_the_operator_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LRU_CACHE_CAPACITY", raising=False)
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    script = "echo plans=$LRU_CACHE_CAPACITY kernels=$ONEDNN_PRIMITIVE_CACHE_CAPACITY >&2"
    executable = make_executable(tmp_path / "python", script)
    assert await start_and_fail(executable, monkeypatch) == "exit code 0 (plans=64 kernels=256)"
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1024")
    assert await start_and_fail(executable, monkeypatch) == "exit code 0 (plans=64 kernels=1024)"


async def test_several_workers_share_the_load() -> None:
    async with running_cell(make_config(fake_step_seconds=0.01), count=2) as cell:
        events = [cell.client.generate(str(index), make_params()) for index in range(4)]
        assert [type((await collect(each))[-1]) for each in events] == [Finished] * 4
        assert sorted(cell.progress) == ["worker-0: loading the fake engine", "worker-1: loading the fake engine"]


async def test_a_killed_worker_loses_its_requests_and_is_started_again() -> None:
    async with running_cell(make_config(fake_step_seconds=0.01)) as cell:
        events = cell.client.generate("a", make_params(num_steps=10_000))
        assert await anext(events) == Started("a")
        os.kill(cell.workers.pids[0], signal.SIGKILL)
        failed = (await collect(events))[-1]
        assert isinstance(failed, Failed)
        assert failed.code == "worker_lost"
        with pytest.raises(NotReady):
            cell.client.generate("b", make_params())
        assert await cell.next_ready() == "worker-0"
        assert isinstance((await collect(cell.client.generate("b", make_params())))[-1], Finished)
        assert cell.restarts == ["worker-0"]
        assert "the worker stopped: killed by SIGKILL; starting it again in 0.5 s" in cell.progress


async def test_who_fails_at_a_report_does_not_end_the_supervision() -> None:
    async with running_cell(make_config(fake_step_seconds=0.01)) as cell:
        listen, cell.client.on_report = cell.client.on_report, fail_at_a_step
        events = await collect(cell.client.generate("a", make_params()))
        assert isinstance(events[-1], Failed)
        cell.client.on_report = listen
        assert await cell.next_ready() == "worker-0"
        assert isinstance((await collect(cell.client.generate("b", make_params())))[-1], Finished)
        assert "the worker stopped: RuntimeError: no room for numbers; starting it again in 0.5 s" in cell.progress


def fail_at_a_step(_: str, report: Report) -> None:
    match report:
        case StepStats():
            raise RuntimeError("no room for numbers")


async def test_signals_meant_for_the_service_do_not_stop_a_worker() -> None:
    async with running_cell() as cell:
        (pid,) = cell.workers.pids
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        assert isinstance((await collect(cell.client.generate("a", make_params())))[-1], Finished)
        assert cell.workers.pids == [pid]


async def test_stop_lets_running_requests_finish() -> None:
    async with running_cell(make_config(fake_step_seconds=0.01)) as cell:
        events = cell.client.generate("a", make_params(num_steps=20))
        assert await anext(events) == Started("a")
        await cell.workers.stop(timeout=TIMEOUT)
        assert isinstance((await collect(events))[-1], Finished)
        assert (cell.restarts, cell.workers.pids) == ([], [])


async def test_stop_does_not_wait_longer_than_told() -> None:
    async with running_cell(make_config(fake_step_seconds=60.0)) as cell:
        events = cell.client.generate("a", make_params())
        assert await anext(events) == Started("a")
        await cell.workers.stop(timeout=0.05)
        failed = (await collect(events))[-1]
        assert isinstance(failed, Failed)
        assert failed.code == "worker_lost"


async def test_stop_before_the_worker_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", make_executable(tmp_path / "python", "exec sleep 60"))
    cell = Cell(make_config(), count=1)
    await cell.workers.start()
    async with asyncio.timeout(TIMEOUT):
        await cell.workers.stop(timeout=0.05)
        with pytest.raises(StartError):
            await cell.workers.ready()


async def test_abort_across_processes() -> None:
    async with running_cell(make_config(fake_step_seconds=0.01)) as cell:
        events = cell.client.generate("a", make_params(num_steps=10_000))
        assert await anext(events) == Started("a")
        cell.client.abort("a")
        assert (await collect(events))[-1] == Cancelled("a")


SERVICE = """
import asyncio, sys
from scheduler.client import Client
from scheduler.messages import Started, WorkerConfig
from scheduler.placement.local import LocalWorkers
from scheduler.request import GenerateParams

async def main():
    client = Client()
    workers = LocalWorkers(WorkerConfig(engine="fake", model="fake", fake_step_seconds=60.0), 1, client)
    await workers.start()
    await workers.ready()
    events = client.generate("a", GenerateParams(prompt="a boat", width=64, height=64))
    assert isinstance(await anext(events), Started)
    print(workers.pids[0], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_worker_does_not_outlive_a_service_that_is_killed() -> None:
    """Even in the middle of a step of a minute."""
    with subprocess.Popen([sys.executable, "-c", SERVICE], cwd=ROOT, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        worker = int(service.stdout.readline())
        assert not wait_for_exit(worker, seconds=0)
        service.kill()
        assert wait_for_exit(worker, seconds=5)


async def start_and_fail(executable: str, monkeypatch: pytest.MonkeyPatch, threads: int = 0) -> str:
    monkeypatch.setattr(sys, "executable", executable)
    cell = Cell(make_config(threads=threads), count=1)
    await cell.workers.start()
    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(StartError) as caught:
            await cell.workers.ready()
        await cell.workers.stop(timeout=0)
    assert cell.restarts == []
    return str(caught.value)


async def test_a_first_start_that_dies_tells_the_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "echo a warning >&2\necho 'MemoryError: no room' >&2\necho >&2\nexit 3"
    message = await start_and_fail(make_executable(tmp_path / "python", script), monkeypatch)
    assert message == "exit code 3 (MemoryError: no room)"


async def test_a_first_start_without_a_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = await start_and_fail(str(tmp_path / "nothing-here"), monkeypatch)
    assert message.startswith("it could not be started: ")


async def test_a_first_start_with_a_path_that_is_no_text() -> None:
    cell = Cell(make_config(model="/models/\udcff"), count=1)
    await cell.workers.start()
    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(StartError, match="it could not be started: "):
            await cell.workers.ready()


async def test_each_worker_is_told_which_one_it_is() -> None:
    async with running_cell(count=2) as cell:
        assert sorted(config_of(pid).index for pid in cell.workers.pids) == [0, 1]


def config_of(pid: int) -> WorkerConfig:
    *_, config, _ = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return msgspec.json.decode(config, type=WorkerConfig)


async def test_a_model_that_cannot_be_loaded_tells_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "worker.py").write_text(
        textwrap.dedent("""
        from scheduler import worker
        from scheduler.engine import LoadError

        def load(config, progress):
            raise LoadError("there is no model at /x: pass --model")

        worker.serve.__defaults__ = (load,)
        worker.main()
        """)
    )
    script = (
        f'shift 3\nexec {sys.executable} -P {tmp_path}/worker.py "$@"'  # in place of: python -P -m scheduler.worker
    )
    message = await start_and_fail(make_executable(tmp_path / "python", script), monkeypatch)
    assert message == "there is no model at /x: pass --model"


async def test_a_worker_starts_wherever_the_service_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "__init__.py").write_text("raise ImportError('somebody else’s scheduler')")
    monkeypatch.chdir(tmp_path)
    async with running_cell() as cell:
        assert cell.client.is_ready


def test_backoff_doubles_and_recovers() -> None:
    backoff = Backoff(shortest=0.5, longest=30.0, healthy=60.0)
    assert [backoff.delay(ran_for=1.0) for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert [backoff.delay(ran_for=60.0), backoff.delay(ran_for=1.0)] == [0.5, 1.0]
