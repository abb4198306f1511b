"""Where the processes of a job meet: ports that others have are said, and a job of one machine is heard by nobody."""

import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from cluster.errors import LaunchError
from cluster.free_port import free_port
from cluster.job_environment import Address, JobEnvironment
from cluster.launch import launch_local
from cluster.meeting_point import meet

LISTENERS = """
import json, sys
import psutil
from cluster.process_group import join_process_group
group = join_process_group()
assert group.sum([1.0]) == [2.0]
mine = [one.laddr.ip for one in psutil.Process().net_connections() if one.status == "LISTEN"]
found = group.gather_objects(mine)
if group.is_main:
    json.dump(found, open(sys.argv[1], "w"))
group.leave()
"""


def one_of_two(rank, port):
    return JobEnvironment(rank, rank, 2, main=Address("127.0.0.1", port))


def test_a_job_of_one_machine_listens_on_its_loopback_interface_only(tmp_path):
    assert launch_local([sys.executable, "-c", LISTENERS, str(tmp_path / "found")], 2) == 0
    store, other = json.loads((tmp_path / "found").read_text())
    assert len(store) > len(other) > 0  # the main process keeps the store too
    assert {*store, *other} == {"127.0.0.1"}


def test_a_port_that_somebody_else_has_is_said_at_once():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LaunchError, match=f"MASTER_PORT: expected a free port .* found {port}, which is in use"):
            meet(one_of_two(0, port), 60)


@pytest.fixture
def stranger():
    """A port on which somebody listens, and what is answered to everybody: None closes the connection."""
    answers, kept = [], []

    def serve():
        while True:
            try:
                kept.append(server.accept()[0])
            except OSError:  # the test is over
                return
            if answers[0] is None:
                kept.pop().close()
            else:
                kept[-1].sendall(answers[0])

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], answers
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("answer", "why"), [(b"HTTP/1.1 400 Bad Request\r\n", "it says b'HTTP/1.1 400"), (None, "it closes connections")]
)
def test_a_stranger_on_the_main_processs_port_is_said_at_once(stranger, answer, why):
    port, answers = stranger
    answers.append(answer)
    with pytest.raises(LaunchError) as error:
        meet(one_of_two(1, port), 600)
    said = f"MASTER_PORT: expected the job's main process at 127.0.0.1:{port}, found something else that listens: "
    assert str(error.value).startswith(said + why)


MEETS = """
import sys
from cluster import meeting_point
from cluster.errors import LaunchError
from cluster.process_group import join_process_group
meeting_point._ANSWER_S = 1.0
try:
    join_process_group()
except LaunchError as error:
    sys.exit(str(error))
"""


def test_a_stranger_who_says_nothing_is_said_in_the_end(stranger):
    port, answers = stranger
    answers.append(b"")
    job = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    job["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", MEETS], env=os.environ | job, stderr=subprocess.PIPE, text=True, timeout=300
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.endswith(f"at 127.0.0.1:{port}, found something else that listens: no answer\n")


def test_a_main_process_that_comes_later_is_waited_for_and_one_that_never_comes_is_said():
    port, stores = free_port(), []
    waiting = threading.Thread(target=lambda: stores.append(meet(one_of_two(1, port), 60)))
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    kept = meet(one_of_two(0, port), 60)
    waiting.join(60)
    stores[0].set("from", "1")
    assert kept.get("from") == b"1"
    with pytest.raises(LaunchError, match="MASTER_ADDR: expected the job's main process at .*, found nobody in 0 s"):
        meet(one_of_two(1, free_port()), 0.3)
