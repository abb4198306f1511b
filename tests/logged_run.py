"""A process that logs a run until it is killed: python tests/logged_run.py RUN FIRST LAST

It writes the records of steps FIRST + 2, FIRST + 4, … LAST, as training does, says so, and waits.
"""

import sys
import time
from pathlib import Path

from pipeline.experiment import ExperimentSettings
from pipeline.train.records.run_log import RunLog

EVERY = 2


def log_steps(log: RunLog, first: int, last: int) -> None:
    """Begin or go on after `first` steps, up to `last`."""
    log.begin(first)
    log.event("resume" if first else "start", step=first)
    for step in range(first + EVERY, last + 1, EVERY):
        log.record({"step": step, "loss": 1 / step, "grad_norm": None})


def logged_run(run: Path, **train: object) -> RunLog:
    run.mkdir(parents=True, exist_ok=True)
    return RunLog(ExperimentSettings.model_validate({"name": "logged", "train": train}), run, True)


if __name__ == "__main__":
    log_steps(logged_run(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))
    print("logged", flush=True)
    time.sleep(600)
