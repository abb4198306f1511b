"""How processes that were part of a job end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.exit_codes import RESTART
from cluster.free_port import free_port

ROOT = str(Path(__file__).parents[2])

ENDS = """
import atexit, os, sys
from cluster.process_end import end_process
from cluster.process_group import join_process_group

class Held:
    def __del__(self):
        os._exit(99)

held = Held()
sys.held = held
atexit.register(print, "handlers ran")
join_process_group().leave()
print("said", end=" ")
end_process(int(sys.argv[1]))
"""


def test_the_end_of_a_jobs_process_is_its_exit_handlers_and_not_the_interpreters_teardown():
    command = [sys.executable, "-c", ENDS, str(RESTART)]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stdout) == (RESTART, "said handlers ran\n")


def test_a_process_that_was_in_no_group_ends_as_ever():
    command = [sys.executable, "-c", "from cluster.process_end import end_process; end_process(75); print('goes on')"]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stdout) == (0, "goes on\n")


# processes are forked with everything imported; the threads of gloo hardly run, as on a machine that does much else
MANY_JOBS = """
import os, sys
from contextlib import suppress
import torch
import torch.distributed
from cluster.process_end import end_process
from cluster.process_group import join_process_group

codes = []
for port in sys.argv[1:]:
    ranks = []
    for rank in range(2):
        ranks.append(os.fork())
        if not ranks[-1]:
            place = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ |= place
            group = join_process_group()
            for thread in os.listdir("/proc/self/task"):
                with suppress(ProcessLookupError):  # it has ended
                    if int(thread) != os.getpid():
                        os.setpriority(os.PRIO_PROCESS, int(thread), 19)
            kept = torch.distributed.group.WORLD
            for _ in range(20):
                torch.distributed.all_reduce(torch.ones(1000))
            group.leave()
            end_process(0)
            sys.exit()
    codes += [os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) for rank in ranks]
print(codes)
"""


@pytest.mark.slow
def test_processes_that_others_leave_no_time_end_without_an_abort():
    ports = [str(free_port()) for _ in range(40)]
    words = ["taskset", "-c", str(min(os.sched_getaffinity(0))), sys.executable, "-c", MANY_JOBS, *ports]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert ended.stdout.strip() == str([0] * 80), ended.stderr
