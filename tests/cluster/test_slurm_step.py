"""Ranks as Slurm tells them: lists of machines, places, ports."""

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import LaunchError
from cluster.job_environment import Address, JobEnvironment
from cluster.slurm_step import hosts
from jobs.local.slurm import SlurmCluster

STEP = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_STEP_NODELIST": "gpu-a[08-10]",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("node1", ["node1"]),
        ("a,b[1-2]", ["a", "b1", "b2"]),
        ("gpu[08-10,3]", ["gpu08", "gpu09", "gpu10", "gpu3"]),
        ("r[1-2]-n[0-1].x,login", ["r1-n0.x", "r1-n1.x", "r2-n0.x", "r2-n1.x", "login"]),
    ],
)
def test_a_list_of_machines_is_read_as_slurm_writes_it(text: str, names: list[str]) -> None:
    assert hosts(text) == names


@pytest.mark.parametrize("text", ["", "a[", "a[1", "a]1[", "a[x]", "a[1-]", "a[1-2-3]"])
def test_a_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        hosts(text)


def test_the_list_is_that_of_slurms_own_command(slurm: SlurmCluster) -> None:
    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.from_regex(r"[a-z]{1,3}-?[0-9]{1,4}", fullmatch=True), min_size=1, max_size=8, unique=True))
    def agree(names: list[str]) -> None:
        written = _scontrol("hostlistsorted", ",".join(names)).strip()
        assert hosts(written) == _scontrol("hostnames", written).split()

    agree()


def test_a_rank_of_srun_is_one_of_a_job() -> None:
    job = JobEnvironment.read(STEP)
    assert (job.rank, job.local_rank, job.world_size, job.local_world_size, job.nodes) == (3, 1, 5, 2, 3)
    assert job.main.host == "gpu-a08"
    assert JobEnvironment.read(STEP | {"SLURM_STEP_ID": "1"}).main.port != job.main.port


TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
TORCHRUN |= {"TORCHELASTIC_RESTART_COUNT": "1"}
PLACE = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4000"}


def test_what_a_launcher_within_the_step_says_wins_over_slurm() -> None:
    job = JobEnvironment.read(STEP | {"SLURM_TASK_PID": "50"} | TORCHRUN | PLACE, pid=51)
    assert (job.rank, job.world_size, job.local_world_size, job.main) == (0, 2, 2, Address("10.0.0.1", 4000))


@pytest.mark.parametrize("inherited", [{"LOCAL_RANK": "0"}, {"RANK": "0", "WORLD_SIZE": "2"}, TORCHRUN])
def test_what_was_inherited_from_who_submitted_does_not(inherited: dict[str, str]) -> None:
    assert JobEnvironment.read(STEP | inherited) == JobEnvironment.read(STEP)


def test_a_process_that_srun_itself_has_started_has_slurms_rank_where_a_person_has_it_meet_the_others() -> None:
    job = JobEnvironment.read(STEP | {"SLURM_TASK_PID": "51"} | TORCHRUN | PLACE, pid=51)
    assert (job.rank, job.local_rank, job.world_size, job.local_world_size) == (3, 1, 5, 2)
    assert (job.main, job.attempt) == (Address("10.0.0.1", 4000), 0)
    assert JobEnvironment.read(STEP | PLACE).main == Address("10.0.0.1", 4000)


def test_one_process_of_srun_and_a_batch_script_are_jobs_of_one() -> None:
    for alone in ({"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_STEP_NUM_TASKS": None}):
        variables = {name: value for name, value in (STEP | alone).items() if value is not None}
        assert not JobEnvironment.read(variables).is_launched


def test_a_list_of_machines_that_cant_be_read_is_a_sentence() -> None:
    with pytest.raises(LaunchError, match=r"expected numbers in the brackets of 'a\[x\]', found 'x'"):
        JobEnvironment.read(STEP | {"SLURM_STEP_NODELIST": "a[x]"})


def _scontrol(*words: str) -> str:
    return subprocess.run(
        ["scontrol", "show", *words], capture_output=True, text=True, check=True, env=os.environ
    ).stdout
