"""Workers that stand still (SIGSTOP) or don't start: the loader goes on or says so, and nothing of them is left."""

import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from cluster.errors import WorkerPoolError
from pipeline.features.settings import FeatureSettings
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import ReadPlan, plan_reading
from pipeline.stream.settings import DataSettings
from pipeline.stream.steps import steps_of
from pipeline.stream.worker_pool import WorkerPool
from tiny_shards import FEATURES, write_shard_set

STEPS, BATCH = 4, 16


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> ReadPlan:
    folder = write_shard_set(tmp_path_factory.mktemp("shards"), samples=37)
    data = DataSettings(workers=2, deadline_s=1)
    return plan_reading(str(folder), FeatureSettings.model_validate(FEATURES), data, seed=3, augment=True)


def test_a_stopped_worker_is_replaced_and_nothing_changes(plan: ReadPlan) -> None:
    """Once while it works, and once while it has nothing to do and is given more than a pipe holds."""
    with Loader(plan, BATCH) as loader:
        batches = loader.batches(steps_of(plan, 0, STEPS, BATCH, BATCH))
        found = [next(batches)]
        stopped = loader.worker_pids[0]
        os.kill(stopped, signal.SIGSTOP)
        found += list(batches)
        os.kill(loader.worker_pids[1], signal.SIGSTOP)
        assert loader._pool is not None
        for _ in range(2000):
            loader._pool.look_ahead(0, 1, range(16))
        found += list(loader.batches(steps_of(plan, STEPS * BATCH, STEPS, BATCH, BATCH)))
        assert stopped not in loader.worker_pids
        assert not psutil.pid_exists(stopped)
    picks = plan.picks(range(2 * STEPS * BATCH))
    assert [key for batch in found for key in batch.keys] == [f"video{pick.sample}-000" for pick in picks]
    assert not any(batch.replaced for batch in found)


def test_a_worker_that_is_stopped_while_it_waits_is_replaced(plan: ReadPlan) -> None:
    """It decodes nothing, and so breaks no deadline; but it gives no sign of life either."""
    with WorkerPool(1, deadline_s=1) as pool:
        stream = pool.open(plan, 1, BATCH).stream
        job = pool.submit(stream, 0, 0, range(4))
        pool.result(job)
        stopped = pool.pids[0]
        os.kill(stopped, signal.SIGSTOP)
        again = pool.submit(stream, 0, 0, range(4))
        assert len(pool.result(again)) == 4
        assert pool.pids[0] != stopped


def started(code: str, *words: str) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    command = [sys.executable, "-c", textwrap.dedent(code), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def is_there(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_stopped_worker_ends_with_its_trainer(plan: ReadPlan) -> None:
    code = """
        import time
        from pipeline.stream.worker_pool import WorkerPool
        with WorkerPool(1, deadline_s=100) as pool:
            while not pool._processes[0].ready:
                pool.listen()
            print(*pool.pids, flush=True)
            time.sleep(1000)
    """
    trainer = started(code)
    assert trainer.stdout is not None
    worker = psutil.Process(int(trainer.stdout.readline()))
    worker.suspend()
    assert is_there(worker)
    trainer.kill()
    trainer.wait()
    trainer.stdout.close()
    until = time.monotonic() + 10
    while is_there(worker) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_there(worker)


def test_processes_that_do_not_start_are_said(plan: ReadPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos._exit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    with (
        pytest.raises(WorkerPoolError, match="loader processes don't stay alive; the last ended with code 3"),
        Loader(plan, BATCH) as loader,
    ):
        next(loader.batches(steps_of(plan, 0, STEPS, BATCH, BATCH)))
    with pytest.raises(WorkerPoolError, match="closed"):
        loader._pool.listen()


def test_a_machine_that_starts_no_process_is_said_and_leaves_nothing_open(plan: ReadPlan, tmp_path: Path) -> None:
    """In a process in which nothing else opens anything, as other tests' threads do here."""
    (tmp_path / "plan").write_bytes(pickle.dumps(plan))
    code = """
        import os, pickle, sys
        from pathlib import Path
        from cluster.errors import WorkerPoolError
        from pipeline.stream.worker_pool import WorkerPool
        def opened():
            return {file.name: os.readlink(file) for file in Path("/proc/self/fd").iterdir() if file.exists()}
        plan = pickle.loads(Path(sys.argv[1]).read_bytes())
        sys.executable = "/nowhere/python"
        before = opened().items()
        try:
            with WorkerPool(2, 60) as pool:
                pool.result(pool.submit(pool.open(plan, 1, 16).stream, 0, 0, range(4)))
        except WorkerPoolError as error:
            print(error)
        print(*(opened().items() - before))
    """
    said, _ = started(code, str(tmp_path / "plan")).communicate()
    error, left = said.decode().splitlines()
    assert re.match(r"can't start a loader process: .*/nowhere/python", error)
    assert left == ""


def test_processes_that_somebody_kills_while_they_start_are_no_failed_starts(plan: ReadPlan) -> None:
    with WorkerPool(1, deadline_s=100) as pool:
        stream = pool.open(plan, 1, BATCH).stream
        job = pool.submit(stream, 0, 0, range(4))
        for _ in range(6):
            killed = pool.pids[0]
            os.kill(killed, signal.SIGKILL)
            while pool.pids[0] == killed:
                pool.listen()
        assert len(pool.result(job)) == 4
