import os
import subprocess
import sys

import pytest
import torch

from cluster.errors import LaunchError
from cluster.launch import launch_local
from cluster.process_group import check_address, gpu_of, refuse_idle_gpus

_ALONE = """
import os
import torch.distributed as dist
from cluster.job_environment import JobEnvironment
from cluster.process_group import join_process_group
group = join_process_group()
assert (group.rank, group.world_size, group.is_main) == (0, 1, True)
assert group.sum([1.0, 2.5]) == [1.0, 2.5]
assert group.from_main("x") == "x"
assert not JobEnvironment.of_this_process().is_launched
assert "MASTER_PORT" not in os.environ
join_process_group().leave()
assert group.sum([1.0]) == [1.0] and dist.is_initialized()  # who came second leaves the first one's group alone
group.leave()
assert not dist.is_initialized()
"""


def test_a_job_of_one_leaves_nothing_that_looks_like_a_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    subprocess.run([sys.executable, "-c", _ALONE], check=True)


def test_a_main_process_on_a_machine_that_nobody_knows_is_said():
    check_address("127.0.0.1")
    with pytest.raises(LaunchError, match="expected the main process's machine, found 'nowhere.invalid'"):
        check_address("nowhere.invalid", patience_s=0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"RANK": "0"}, "RANK set but not WORLD_SIZE, MASTER_ADDR, MASTER_PORT: a launcher sets all four, or none"),
        ({"SLURM_JOB_END_TIME": "later"}, "SLURM_JOB_END_TIME: expected a time in seconds, found 'later'"),
    ],
)
def test_launchers_variables_that_make_no_sense_end_training_with_a_sentence(given, message):
    inherited = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE")}
    command = [sys.executable, "-m", "jobs.cli", "train", "none.yaml"]
    place = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(command, env=inherited | place | given, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (2, f"gavt: {message}\n")


def test_processes_know_their_ranks_and_talk(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(
        "import sys; from cluster.process_group import join_process_group; g = join_process_group()\n"
        "total = g.sum([g.rank + 1])[0]; word = g.from_main(f'from {g.rank}'); g.barrier()\n"
        "open(f'{sys.argv[1]}/{g.rank}', 'w').write(f'{g.world_size} {total} {word}'); g.leave()\n"
    )
    assert launch_local([sys.executable, str(script), str(tmp_path)], 3) == 0
    assert [(tmp_path / str(rank)).read_text() for rank in range(3)] == ["3 6.0 from 0"] * 3


AT_LENGTH = """
import sys, time
from cluster import process_group
from cluster.errors import UserError
process_group._WORD_EVERY_S = 0.01
group, moves = process_group.join_process_group(), []

def make(on_progress):
    for _ in range(5):
        on_progress()
        time.sleep(0.05)
    return f"from {group.rank}"

def refuse(on_progress):
    raise UserError("of no use")

word = group.on_main_at_length(make, lambda: moves.append(1))
try:
    group.on_main_at_length(refuse, lambda: None)
except UserError as error:
    open(f"{sys.argv[1]}/{group.rank}", "w").write(f"{word} {0 < len(moves) <= 5} {error} {error.said_by_main}")
group.leave()
"""


def test_what_one_process_makes_at_length_all_have_and_all_know_that_it_comes_further(tmp_path):
    assert launch_local([sys.executable, "-c", AT_LENGTH, str(tmp_path)], 2) == 0
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == [
        "from 0 True of no use False",
        "from 0 True of no use True",
    ]


def test_the_first_failing_processs_exit_code_ends_the_job():
    command = "import os, sys, time; sys.exit(7) if os.environ['RANK'] == '1' else time.sleep(600)"
    assert launch_local([sys.executable, "-c", command], 2) == 7


def test_a_command_that_cannot_start_is_said():
    with pytest.raises(LaunchError, match="can't start /no/such/program"):
        launch_local(["/no/such/program"], 2)


@pytest.mark.parametrize(("answer", "found"), [("True", "True"), ("False", "False"), ("1 / 0", "ended with code 2")])
def test_another_process_looks_for_a_gpu_and_one_that_fails_has_not_found_any(answer, found):
    """In a process of its own, which has one thread as those have that fork."""
    code = (
        f"import torch; torch.cuda.is_available = lambda: {answer}\n"
        "from cluster.process_group import asked_for_gpu\n"
        "try: print(asked_for_gpu())\nexcept ChildProcessError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120).stdout
    assert said.splitlines()[-1].endswith(found)
    assert len(said.splitlines()) == 1


def test_more_processes_than_gpus_end_with_a_sentence():
    assert gpu_of(1, 2) == torch.device("cuda", 1)
    with pytest.raises(
        LaunchError, match="LOCAL_RANK: expected at most 1, as a process of this machine sees 2 GPUs, f"
    ):
        gpu_of(2, 2)


def test_gpus_that_torch_cannot_use_are_no_reason_to_compute_on_the_cpu_unless_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    refuse_idle_gpus(tmp_path)
    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidiactl").touch()
    with pytest.raises(LaunchError, match=r"torch can't use the 1 NVIDIA GPUs of this machine: .+; mend that, or set"):
        refuse_idle_gpus(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    refuse_idle_gpus(tmp_path)
