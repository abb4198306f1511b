"""What launchers tell a process: read in one place, and refused with the variable's name where it makes no sense."""

import ast
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.errors import LaunchError
from cluster.job_environment import Address, JobAttempt, JobEnvironment, without_launcher
from small_job import OF_ANOTHER_JOB

ROOT = Path(__file__).parents[2]
OF_LAUNCHERS = re.compile(
    r"((LOCAL_|GROUP_|NODE_)?RANK|(LOCAL_)?WORLD_SIZE|MASTER_(ADDR|PORT)|GAVT_JOB_STARTED"
    r"|(TORCHELASTIC|SLURM|OMPI|PMI|PMIX|PBS|LSB|MPI)_\w+)"
)
PAIR = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


OF_SLURM = {"cluster/slurm_step.py", "cluster/launchers/slurm.py", "cluster/launchers/slurm_keeper.py"}
OF_SLURM |= {"jobs/local/slurm.py"}


def test_no_other_file_knows_launchers_variables():
    files = [file for part in ("cluster", "pipeline", "jobs") for file in (ROOT / part).rglob("*.py")]
    knowing = {
        file.relative_to(ROOT).as_posix()
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and OF_LAUNCHERS.fullmatch(node.value)
    }
    assert knowing - OF_SLURM == {"cluster/job_environment.py"}


def test_without_a_launcher_a_process_is_a_job_of_one():
    job = JobEnvironment.read({"PATH": "/bin"})
    assert job == JobEnvironment()
    assert (job.is_launched, job.is_main, job.nodes) == (False, True, 1)


def test_what_torchrun_and_slurm_say_is_read():
    torchrun = {"LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": "3", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    job = JobEnvironment.read(PAIR | torchrun | {"WORLD_SIZE": "5", "SLURM_JOB_END_TIME": "1767225600"})
    assert (job.rank, job.local_rank, job.world_size, job.main) == (1, 1, 5, Address("127.0.0.1", 29500))
    assert (job.attempt, job.launcher_keeps_store, job.allocation_ends_s) == (3, True, 1767225600.0)
    assert (job.is_launched, job.is_main, job.nodes) == (True, False, 3)
    slurm = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "2"}
    assert JobEnvironment.read(PAIR | slurm).job_attempt == JobAttempt("Slurm's 7", 2)


def test_a_launcher_that_does_not_say_how_many_lie_on_a_machine_has_one_machine():
    assert JobEnvironment.read(PAIR | {"WORLD_SIZE": "64"}).nodes == 1


def test_a_process_understands_what_the_launcher_writes():
    job = JobEnvironment(world_size=4, local_world_size=2, main=Address("node7", 5), started_s=0.1 + 0.2)
    job = replace(job, job_attempt=JobAttempt("s3://bucket/my run/jobs/train", 3))
    for one in (JobEnvironment(), job, replace(job, rank=3, local_rank=1, attempt=2, launcher_keeps_store=True)):
        assert JobEnvironment.read(one.variables()) == one


def test_a_job_inherits_nothing_of_another_job_but_all_else():
    person = {"PATH": "/bin", "SIZE": "3", "SLURM_JOB_END_TIME": "1767225600", "MASTER_ADDR": "here"}
    of_step = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_TASK_PID": "5"}
    assert without_launcher(person | of_step) == person
    alone = {name: value for name, value in person.items() if name != "MASTER_ADDR"}
    assert without_launcher(person | OF_ANOTHER_JOB) == alone


def test_a_machine_has_the_name_of_the_jobs_place_else_that_of_slurm_else_its_own():
    slurm = {"SLURMD_NODENAME": "node2"}
    of_ray = JobEnvironment.read(slurm | JobEnvironment(node="8f3a").variables())
    assert (of_ray.machine, JobEnvironment.read(slurm).machine) == ("8f3a", "node2")
    assert JobEnvironment.read({}).machine == socket.gethostname()
    assert without_launcher(slurm | of_ray.variables())["SLURMD_NODENAME"] == "node2"
    assert JobEnvironment.read(without_launcher(slurm | of_ray.variables())).machine == "node2"


@pytest.mark.parametrize("missing", ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"])
def test_half_a_launchers_variables_are_refused(missing):
    with pytest.raises(LaunchError, match=f"set but not {missing}: a launcher sets all four, or none"):
        JobEnvironment.read({name: value for name, value in PAIR.items() if name != missing})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RANK", "a", "expected a number, found 'a'"),
        ("RANK", "²", "expected a number, found '²'"),
        ("RANK", "2", "expected less than WORLD_SIZE = 2, found 2"),
        ("WORLD_SIZE", "", "expected a number, found ''"),
        ("WORLD_SIZE", "0", "expected a number of processes, found 0"),
        ("LOCAL_RANK", "x", "expected a number, found 'x'"),
        ("LOCAL_WORLD_SIZE", "0", "expected a number of processes, found 0"),
        ("LOCAL_WORLD_SIZE", "3", "expected at most WORLD_SIZE = 2, found 3"),
        ("LOCAL_WORLD_SIZE", "1.5", "expected a number, found '1.5'"),
        ("MASTER_PORT", "-1", "expected a number, found '-1'"),
        ("MASTER_PORT", "0", "expected 1 to 65535, found 0"),
        ("MASTER_PORT", "70000", "expected 1 to 65535, found 70000"),
        ("TORCHELASTIC_RESTART_COUNT", "none", "expected a number, found 'none'"),
        ("TORCHELASTIC_USE_AGENT_STORE", "1", "expected True or False, found '1'"),
        ("SLURM_JOB_END_TIME", "Unknown", "expected a time in seconds, found 'Unknown'"),
        ("GAVT_JOB_STARTED", "nan", "expected a time in seconds, found 'nan'"),
    ],
)
def test_a_variable_that_makes_no_sense_is_refused_by_its_name(name, value, message):
    with pytest.raises(LaunchError) as refused:
        JobEnvironment.read(PAIR | {name: value})
    assert str(refused.value) == f"{name}: {message}"


def test_a_local_rank_that_its_machine_can_not_have_is_refused():
    with pytest.raises(LaunchError, match="LOCAL_RANK: expected less than LOCAL_WORLD_SIZE = 1, found 1"):
        JobEnvironment.read(PAIR | {"LOCAL_WORLD_SIZE": "1"})
