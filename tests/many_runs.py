"""Several tiny runs one after the other in the same processes, as starting them one by one would take longest.

python tests/many_runs.py CONFIG '[["RUN", "a.b=c", …], …]'
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.free_port import free_port
from cluster.process_end import end_process
from cluster.process_group import join_process_group


def train_all(config: Path, runs: Sequence[Sequence[str]], processes: int, limit_s: float = 500) -> None:
    """Train each run (its folder, then its overrides) with that many processes."""
    port = str(free_port())
    started = []
    for rank in range(processes):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        environment = os.environ | place | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WANDB_MODE": "disabled"}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, __file__, str(config), json.dumps([list(map(str, run)) for run in runs])]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    try:
        errors = [process.communicate(timeout=limit_s)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert all(process.returncode == 0 for process in started), "\n".join(errors)


def main() -> None:
    from pipeline.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings
    from pipeline.train.loop import train

    group = join_process_group()
    for run, *overrides in json.loads(sys.argv[2]):
        settings = load_settings(sys.argv[1], ExperimentSettings, overrides).settings
        train(settings, run, group, lambda record: None)
    group.leave()


if __name__ == "__main__":
    main()
    end_process(0)
