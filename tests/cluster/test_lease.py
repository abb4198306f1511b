"""One writer at a time, whoever dies."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster import lease as lease_module
from cluster import storage
from cluster.errors import InUseError
from cluster.job_environment import JobAttempt
from cluster.lease import Lease

HOLD = """
import sys, time
from cluster.lease import Lease
with Lease(sys.argv[1], "gavt prepare"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "RENEW_S", 0.2)
    monkeypatch.setattr(lease_module, "_PATIENCE_S", 8.0)


@pytest.fixture(params=["local", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return f"{tmp_path}/prepare.lock"
    return f"{request.getfixturevalue('s3_bucket')}/prepare.lock"


def holder(url: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, url], text=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_with_who_holds_it_and_may_after_the_first(url: str) -> None:
    with Lease(url, "gavt prepare") as first:
        place = url.rsplit("/", 1)[0]
        with pytest.raises(InUseError) as caught, Lease(url, "gavt prepare"):
            pass
        since = json.loads(storage.read_bytes(url))["since"]
        assert str(caught.value) == (
            f"{place}: another gavt prepare works on it "
            f"(process {os.getpid()} on {socket.gethostname()} since {since}); wait for it, or stop it first"
        )
        with pytest.raises(InUseError):
            Lease(url, "gavt prepare").check_free()
        first.check()
    assert not storage.exists(url)
    Lease(url, "gavt prepare").check_free()
    with Lease(url, "gavt prepare"):
        assert storage.exists(url)


def test_what_a_killed_process_held_is_free_at_once_on_the_same_machine(url: str) -> None:
    process = holder(url)
    process.kill()
    process.wait()
    assert storage.exists(url)
    with Lease(url, "gavt prepare") as mine:
        mine.check()


def test_a_holder_elsewhere_that_gives_no_sign_of_life_is_followed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_PATIENCE_S", 0.5)
    storage.write_bytes(url, json.dumps({"token": "x", "host": "elsewhere", "pid": 1, "beats": 3}).encode())
    with Lease(url, "gavt prepare") as mine:
        mine.check()
        assert json.loads(storage.read_bytes(url))["host"] == socket.gethostname()


def test_one_who_lost_it_is_told_and_does_not_remove_the_others(url: str) -> None:
    with Lease(url, "gavt prepare") as mine:
        storage.write_bytes(url, json.dumps({"token": "y", "host": "elsewhere", "pid": 7}).encode())
        until = time.monotonic() + 20
        with pytest.raises(InUseError, match=r"goes on elsewhere \(process 7 on elsewhere since .*\), and stops here"):  # noqa: PT012
            while time.monotonic() < until:
                mine.check()
                time.sleep(0.05)
    assert storage.exists(url)


def test_a_later_attempt_of_the_same_job_follows_at_once_and_no_other(url: str) -> None:
    left = {"token": "x", "host": "elsewhere", "pid": 1, "attempt": {"job": "mine", "number": 3}}
    storage.write_bytes(url, json.dumps(left).encode())
    with Lease(url, "gavt train", JobAttempt("mine", 4)) as mine:
        mine.check()
        for other in (None, JobAttempt("mine", 4), JobAttempt("another", 5)):
            with pytest.raises(InUseError):
                Lease(url, "gavt train", other).check_free()


def test_of_many_that_follow_at_once_one_has_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_PATIENCE_S", 0.5)
    storage.write_bytes(url, json.dumps({"token": "x", "host": "elsewhere", "pid": 1}).encode())
    held, refused, over = [], [], threading.Event()

    def follow(_: int) -> None:
        try:
            with Lease(url, "gavt prepare") as mine:
                held.append(mine)
                over.wait(30)
        except InUseError:
            refused.append(1)

    with ThreadPoolExecutor(4) as threads:
        followed = threads.map(follow, range(4))
        until = time.monotonic() + 30
        while len(held) + len(refused) < 4 and time.monotonic() < until:
            time.sleep(0.02)
        over.set()
        list(followed)
    assert (len(held), len(refused)) == (1, 3)


def in_another_container(*command: str) -> list[str]:
    """A command as another container of this machine runs it: same host name, its own numbers of processes."""
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("no namespace of processes can be made here")
    return [*unshare, *command]


def test_a_living_holder_in_another_container_of_this_machine_keeps_it(tmp_path: Path) -> None:
    url = f"{tmp_path}/prepare.lock"
    command = in_another_container(sys.executable, "-c", HOLD, url)
    holder = subprocess.Popen(command, text=True, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        pid = json.loads(storage.read_bytes(url))["pid"]
        refused = rf"another gavt prepare works on it \(process {pid} on {socket.gethostname()} since"
        with pytest.raises(InUseError, match=refused), Lease(url, "gavt prepare"):
            pass
    finally:
        holder.kill()
        holder.wait()


def test_a_holder_that_died_in_another_container_is_followed_once_it_gives_no_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{tmp_path}/prepare.lock"
    command = in_another_container(sys.executable, "-c", HOLD, url)
    holder = subprocess.Popen(command, text=True, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    monkeypatch.setattr(lease_module, "_PATIENCE_S", 1.0)
    with Lease(url, "gavt prepare") as mine:
        mine.check()


def test_a_file_that_stays_empty_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "prepare.lock").touch()  # made by one that was killed before it wrote
    with Lease(f"{tmp_path}/prepare.lock", "gavt prepare") as mine:
        mine.check()
