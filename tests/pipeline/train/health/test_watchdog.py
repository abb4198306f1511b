"""A job that hangs: two processes that share a folder and talk by nothing else."""

import json
import subprocess
import sys
import time
from pathlib import Path

from cluster.exit_codes import HUNG

PROCESS = """
import sys, threading, time
from pathlib import Path
import torch
from cluster.process_group import ProcessGroup
from pipeline.train.health.watchdog import Watchdog

class Alone(ProcessGroup):
    def from_main(self, value):
        return "ab"

run, rank = Path(sys.argv[1]), int(sys.argv[2])

def wait_for_a_message_that_never_comes():
    threading.Event().wait()

(run / f"in-{rank}").touch()
while not (run / f"in-{1 - rank}").exists():
    time.sleep(0.01)
with Watchdog(run, Alone(rank, rank, 2, torch.device("cpu")), hang_s=1.0) as watchdog:
    for step in range(10 if rank else 5):
        watchdog.beat("forward and backward", step)
    wait_for_a_message_that_never_comes()
"""


def test_a_hang_writes_the_stacks_of_all_and_names_who_is_behind(tmp_path):
    root = str(Path(__file__).parents[4])
    command = [sys.executable, "-c", PROCESS, str(tmp_path)]
    processes = [
        subprocess.Popen([*command, str(rank)], cwd=root, stderr=subprocess.PIPE, text=True) for rank in (0, 1)
    ]
    try:
        said = [process.communicate(timeout=60)[1] for process in processes]
        assert [process.returncode for process in processes] == [HUNG, HUNG]
    finally:
        for process in processes:
            process.kill()
    assert "".join(said).count("gavt: rank 0 does not move: step 4, forward and backward, for ") == 1
    for rank in (0, 1):
        stacks = (tmp_path / "logs" / f"stacks-rank-{rank:05d}.txt").read_text()
        assert "wait_for_a_message_that_never_comes" in stacks
    (event,) = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert (event["event"], event["rank"], event["step"], event["answers"]) == ("hang", 0, 4, True)
    assert event["places"] == ["0: step 4, forward and backward", "1: step 9, forward and backward"]


APART = """
import shutil, sys, threading
from pathlib import Path
import torch
from cluster.process_group import ProcessGroup
from pipeline.train.health.watchdog import Watchdog

class Alone(ProcessGroup):
    def from_main(self, value):
        return "ab"

whole, rank = Path(sys.argv[1]), int(sys.argv[2])
own = whole / f"machine-{rank}"

def publish():
    shutil.copytree(own, whole / "run", dirs_exist_ok=True)

with Watchdog(own, Alone(rank, 0, 2, torch.device("cpu")), 3.0, str(whole / "run"), publish) as watchdog:
    for step in range(5 if rank else 10):
        watchdog.beat("forward and backward", step)
    threading.Event().wait()
"""


def test_machines_that_share_no_folder_send_their_stacks_and_name_who_is_behind(tmp_path):
    root = str(Path(__file__).parents[4])
    command = [sys.executable, "-c", APART, str(tmp_path)]
    processes = [subprocess.Popen([*command, str(rank)], cwd=root, stderr=subprocess.DEVNULL) for rank in (0, 1)]
    try:
        assert [process.wait(60) for process in processes] == [HUNG, HUNG]
    finally:
        for process in processes:
            process.kill()
    for rank in (0, 1):
        assert (tmp_path / "run" / "logs" / f"stacks-rank-{rank:05d}.txt").read_text().startswith(f"rank {rank}, step ")
    (event,) = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert (event["event"], event["rank"], event["step"]) == ("hang", 1, 4)


ALONE = """
import shutil, sys, threading
from pathlib import Path
import torch
from cluster.process_group import ProcessGroup
from pipeline.train.health.watchdog import Watchdog

run = Path(sys.argv[1])
with Watchdog(run, ProcessGroup(0, 0, 1, torch.device("cpu")), hang_s=1.0):
    shutil.rmtree(run)
    threading.Event().wait()
"""


def test_a_hang_ends_the_run_where_nothing_can_be_written_too(tmp_path):
    root, run = str(Path(__file__).parents[4]), str(tmp_path / "run")
    ended = subprocess.run([sys.executable, "-c", ALONE, run], cwd=root, capture_output=True, text=True, timeout=60)
    assert ended.returncode == HUNG


def test_the_alarm_of_an_earlier_start_is_not_heard(tmp_path):
    import torch

    from cluster.process_group import ProcessGroup
    from pipeline.train.health.watchdog import Watchdog

    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "hang-0000.json").write_text("{}")
    with Watchdog(tmp_path, ProcessGroup(0, 0, 1, torch.device("cpu")), hang_s=1.0) as watchdog:
        for step in range(15):
            time.sleep(0.1)
            watchdog.beat("forward and backward", step)
    assert not list((tmp_path / "logs").glob("hang-*"))
