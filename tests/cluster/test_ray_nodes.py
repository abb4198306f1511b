"""A Ray cluster inside of a Slurm job, started by `srun` once a machine."""

import os
import subprocess
import sys


def test_what_srun_has_not_started_is_refused_in_a_sentence() -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    command = [sys.executable, "-m", "cluster.launchers.ray_nodes", "true"]
    done = subprocess.run(command, env=outside, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == (
        "gavt: cluster.launchers.ray_nodes: expected to be started by srun, once on each of several nodes\n"
    )
