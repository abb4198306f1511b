"""What a job of two ranks on two nodes of Ray waits for: from `gavt submit` to the first step, and from the death of a
rank to the next step."""

import os
import tempfile
import time
from datetime import datetime
from pathlib import Path

from jobs.local.ray_cluster import RayCluster
from ray_cluster_with_jobs import ray_cluster_with_jobs
from result import Result
from small_job import wait_until
from tiny_training import Command
from training_on_ray import TrainingOnRay, gavt

MOST_TO_FIRST_S, MOST_RESTART_S = 30.0, 15.0


def run() -> list[Result]:
    """Both in seconds on the wall, which are promised of a machine that has nothing else to do."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        os.environ["XDG_STATE_HOME"] = folder  # else the jobs of whoever measures list this one
        with ray_cluster_with_jobs(cpus=1, nodes=2, variables={"WANDB_MODE": "disabled"}) as cluster:
            return _measure(Command(Path(folder)), Path(folder) / "run", cluster)


def _measure(command: Command, run_folder: Path, cluster: RayCluster) -> list[Result]:
    begun_s = time.time()
    training = TrainingOnRay(command, run_folder, cluster, "train.steps=2000")
    submitted_s = time.time()
    training.reach(11)
    killed_s = time.time()
    training.a_rank(1).kill()
    wait_until(lambda: training.records("events")[-1]["event"] == "resume", 120)
    training.reach(training.records("events")[-1]["step"] + 1)
    gavt("cancel", str(training.run))
    first_s, second_s = (datetime.fromisoformat(one.began).timestamp() for one in training.job.attempts()[:2])
    steps_s = [record["time"] for record in training.records()]
    to_first = submitted_s - begun_s + min(steps_s) - first_s
    restart = min(step for step in steps_s if step > second_s) - killed_s
    load = f"the limit itself; load {os.getloadavg()[0]:.0f}"
    rays = f"{load}; Ray took {first_s - submitted_s:.1f} s more to start it"
    return [
        Result("ray_start first step", to_first, "s", MOST_TO_FIRST_S, to_first <= MOST_TO_FIRST_S, rays),
        Result("ray_start restart", restart, "s", MOST_RESTART_S, restart <= MOST_RESTART_S, load),
    ]
