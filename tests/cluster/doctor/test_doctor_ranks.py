"""Ranks that examine their machines and add numbers up: who is missing, who is different, who breaks off."""

import os
import subprocess
import sys
from pathlib import Path

from cluster.free_port import free_port

ROOT = Path(__file__).parents[3]
RANK = """
import os, sys
from cluster.doctor import ranks
from cluster.doctor.finding import Finding
from cluster.job_environment import JobEnvironment
from cluster.process_end import end_process

ranks._REDUCE_S = 4.0
if sys.argv[1] == "breaks off":
    ranks._all_reduce = lambda store, job: os._exit(1)
job = JobEnvironment.of_this_process()
examine = lambda world: [Finding("disk", "warn", f"machine {job.node} of {world} ranks", "make room")]
report = ranks.examine_job(job, job.node, examine, {"torch": sys.argv[2]}, 4.0 if sys.argv[1] == "alone" else 90.0)
if report is not None:
    for machine, found in report.machines.items():
        print(machine, *((one.check, one.state, one.found) for one in found), sep="|")
    for one in report.between:
        print("between", (one.check, one.state, one.found), one.advice, sep="|")
end_process(0)
"""


def start(rank: int, port: int, how: str = "well", torch: str = "2.14") -> "subprocess.Popen[str]":
    told = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "SLURMD_NODENAME": f"node{rank}"}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": ROOT, "CUDA_VISIBLE_DEVICES": ""}
    variables = os.environ | {name: str(value) for name, value in told.items()}
    command = [sys.executable, "-c", RANK, how, torch]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)


def report(*ranks: "subprocess.Popen[str]") -> list[str]:
    said = [rank.communicate(timeout=150)[0] for rank in ranks]
    assert not any(said[1:])
    return said[0].splitlines()


def test_all_machines_stand_in_one_report_with_the_all_reduce_between_them_and_what_differs() -> None:
    port = free_port()
    told = report(start(0, port), start(1, port, torch="2.13"))
    assert told[0] == "node0|('device of rank 0', 'ok', 'CPU')|('disk', 'warn', 'machine node0 of 2 ranks')"
    assert told[1] == "node1|('device of rank 1', 'ok', 'CPU')|('disk', 'warn', 'machine node1 of 2 ranks')"
    assert told[2].startswith("between|('ranks', 'ok', 'all 2 are here')")
    assert told[3].startswith("between|('same versions', 'fail', 'node1: torch 2.13 instead of 2.14')")
    assert told[4].startswith("between|('all-reduce', 'ok', 'gloo, 2 ranks on 2 machines: ")
    assert told[4].endswith(" GB/s')|")


def test_a_rank_that_never_came_is_named() -> None:
    told = report(start(0, free_port(), "alone"))
    assert told[1].startswith("between|('ranks', 'fail', '1 of 2 came; missing: 1')|look at the logs of these ranks")
    assert not any("all-reduce" in line for line in told)


def test_a_rank_that_breaks_off_in_the_all_reduce_is_named_with_its_machine() -> None:
    port = free_port()
    told = report(start(0, port), start(1, port, "breaks off"))
    assert told[4].startswith("between|('all-reduce', 'fail', 'no answer in 4 s from rank 1 on node1')|see that NCCL_")
