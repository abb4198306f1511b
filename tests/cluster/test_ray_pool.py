"""The pool gives every item's results, whatever happens to its workers."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import ray

from cluster import ray_pool
from cluster.errors import WorkerPoolError
from cluster.ray_pool import RayPool
from cluster.step import Step

STARTED = time.time()


def command_of(process: psutil.Process) -> str:
    """Nothing of one that has ended, of this test or an earlier one."""
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def listening(process: psutil.Process) -> set[str]:
    """Where a process listens: ADDRESS:PORT."""
    ports = [port for port in process.net_connections("inet") if port.status == psutil.CONN_LISTEN]
    return {f"{port.laddr.ip.removeprefix('::ffff:')}:{port.laddr.port}" for port in ports}


@pytest.fixture(scope="module")
def before() -> set[str]:
    """Where this process listens without a pool: an earlier test's servers."""
    return listening(psutil.Process())


@pytest.fixture(scope="module")
def pool(before: set[str]) -> Iterator[RayPool]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # the workers import this file's functions from there
        with RayPool(workers=2) as started:
            yield started
    assert not Path(started.folder or "/nowhere").exists()


def squares(number: int) -> Iterator[int]:
    for _ in range(2):
        yield number * number


def test_every_item_gives_its_values_and_then_is_done(pool: RayPool) -> None:
    steps: list[Step[int, int]] = list(pool.map_unordered(squares, range(8)))
    for number in range(8):
        mine = [(step.state, step.value) for step in steps if step.item == number]
        assert mine == [("value", number**2), ("value", number**2), ("done", None)]


def dies_once(marker: str) -> Iterator[str]:
    yield "begun"
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    yield "ended"


def test_an_item_whose_worker_was_killed_is_run_again(pool: RayPool, tmp_path: Path) -> None:
    steps = [(step.state, step.value) for step in pool.map_unordered(dies_once, [str(tmp_path / "marker")])]
    assert ("restarted", None) in steps
    assert steps[-3:] == [("value", "begun"), ("value", "ended"), ("done", None)]


def dies(number: int) -> Iterator[int]:
    if number == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    yield number


def test_an_item_that_always_kills_its_worker_is_lost_and_its_neighbours_are_not(pool: RayPool) -> None:
    steps: list[Step[int, int]] = list(pool.map_unordered(dies, range(3), attempts=2))
    assert [step.item for step in steps if step.state == "lost"] == [1]
    assert sorted(step.item for step in steps if step.state == "done") == [0, 2]


def fails(number: int) -> Iterator[int]:
    yield number
    raise WorkerPoolError(f"item {number} is wrong")


def test_an_exception_of_the_function_comes_back_as_itself(pool: RayPool) -> None:
    with pytest.raises(WorkerPoolError, match="item 0 is wrong"):
        list(pool.map_unordered(fails, [0]))


def environment(name: str) -> Iterator[str | None]:
    yield os.environ.get(name)


def test_workers_have_the_environment_in_which_the_pool_started(pool: RayPool) -> None:
    values = [step.value for step in pool.map_unordered(environment, ["PYTHONPATH"]) if step.state == "value"]
    assert str(Path(__file__).parent) in str(values[0])


def test_no_token_is_left_in_the_home_folder(pool: RayPool) -> None:
    token = Path.home() / ".ray" / "auth_token"
    assert not token.exists() or token.stat().st_mtime < STARTED


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:1", "--ray-address 127.0.0.1:1: expected a running Ray cluster, found none (Connection refused)"),
        (
            "ray://host:10001",
            "--ray-address: expected host:port of a cluster's head node, or auto, found 'ray://host:10001'",
        ),
    ],
)
def test_a_cluster_that_is_not_there_is_one_sentence(address: str, sentence: str) -> None:
    code = f"from cluster.ray_pool import RayPool\nwith RayPool({address!r}): pass"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stderr.strip().endswith(sentence)


def test_ray_without_room_is_one_sentence_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Sockets need a short path: where /tmp is full they go to TMPDIR, if that is short too."""
    disk = Path(tempfile.mkdtemp(prefix="gv", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "with a long name"))
    mounting = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True)
    try:
        if mounting.returncode:
            pytest.skip("a disk can't be mounted here")
        assert ray_pool._place_of_sockets() == Path("/tmp")
        with pytest.raises(WorkerPoolError, match=rf"^{disk}: expected .* 20 MB of room .* found 1\.0 MB free"):
            ray_pool._place_of_sockets(usual=disk)
        monkeypatch.setenv("TMPDIR", "/tmp")
        assert ray_pool._place_of_sockets(usual=disk) == Path("/tmp")
    finally:
        if not mounting.returncode:
            subprocess.run(["umount", disk], check=True)
        disk.rmdir()
    monkeypatch.setenv("TMPDIR", str(disk))
    with pytest.raises(WorkerPoolError, match=rf"^{disk}: .* found No such file or directory"):
        ray_pool._place_of_sockets(usual=disk)


def test_nothing_of_it_listens_on_an_address_that_other_machines_reach(pool: RayPool, before: set[str]) -> None:
    """Neither Ray's own parts, which are told by their folder, nor what the pool has this process open."""
    folder = str(Path(ray._private.worker._global_node.get_session_dir_path()).parent.parent)
    parts = [part for part in psutil.Process().children(recursive=True) if folder in command_of(part)]
    session = {one.pid: one for part in parts for one in [part, *part.children(recursive=True)]}
    found = listening(psutil.Process()) - before
    found |= {address for one in session.values() for address in listening(one)}
    assert len(found) > 3
    assert {address for address in found if not address.startswith(("127.", "::1:"))} == set()


def test_who_has_another_token_is_refused(pool: RayPool) -> None:
    address = ray.get_runtime_context().gcs_address
    code = f"from cluster.ray_pool import RayPool\nwith RayPool({address!r}): pass"
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode != 0
    sentence = f"--ray-address {address}: expected a running Ray cluster that takes this command's token"
    assert sentence in ended.stderr.strip().splitlines()[-1]


def test_other_users_can_enter_neither_rays_folder_nor_the_scratch_of_the_workers(pool: RayPool) -> None:
    assert pool.folder is not None
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    assert stat.S_IMODE(session.parent.stat().st_mode) == 0o777  # Ray's own doing
    for folder in (pool.folder, session.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert pool.folder not in session.parents
    assert session.parent.parent not in pool.folder.parents
    if os.geteuid() == 0 and (setpriv := shutil.which("setpriv")):  # as somebody else, who tries to swap what is there
        as_other = [setpriv, "--reuid", "54321", "--regid", "54321", "--clear-groups", "sh", "-c"]
        for folder in (pool.folder, session):
            swap = f"ls {folder}; mv {folder} {folder}.away; touch {folder}/planted"
            assert subprocess.run([*as_other, swap], capture_output=True).stdout == b""
            assert folder.is_dir()
            assert not (folder / "planted").exists()
