"""The gavt command with the toy system, as a person runs it: in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from saved_weights import saved_weights
from tiny_shards import write_shard_set

HERE = Path(__file__).parent
EXTENSION = "toy_system.kinds"


class Command:
    """Runs verbs on small shard sets.

    Attributes:
        config: the settings file of the system with these sets.
        data: the validation set.
    """

    def __init__(self, folder: Path) -> None:
        self.data = write_shard_set(folder / "validation", 16, seed=1)
        self.config = folder / "toy.yaml"
        data = {"train": str(write_shard_set(folder / "train", 48)), "validation": str(self.data)}
        self.config.write_text(yaml.safe_dump({"base": str(HERE / "toy.yaml"), "data": data}))

    def start(self, *words: object, extensions: str = EXTENSION) -> subprocess.Popen[str]:
        paths = [str(HERE.parent), str(HERE.parents[1])]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", "GAVT_EXTENSIONS": extensions}
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        command = [sys.executable, "-m", "jobs.cli", *map(str, words)]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def __call__(self, *words: object, code: int = 0, extensions: str = EXTENSION) -> tuple[str, str]:
        """What the verb says, on stdout and on stderr."""
        process = self.start(*words, extensions=extensions)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, err
        return out, err

    def json(self, *words: object) -> dict[str, Any]:
        """The verb's result."""
        result: dict[str, Any] = json.loads(self(*words, "--json")[0].splitlines()[-1])
        return result

    def train(self, run: Path, *words: object) -> Path:
        self("train", self.config, "--run", run, *words)
        return run

    def kill(self, run: Path, step: int, *words: object) -> None:
        """Train, and kill all processes with SIGKILL once there is a checkpoint of that step."""
        process = self.start("train", self.config, "--run", run, *words)
        wait_for(step_folder(run, step).exists, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.01)


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def curves(run: Path) -> list[dict[str, Any]]:
    """Of each record what must be the same after any interruption."""
    names = ("step", "loss", "told", "distance", "grad_norm", "learning_rate")
    names += tuple(f"validation/{name}" for name in ("loss", "told", "distance"))
    return [{name: record[name] for name in names if name in record} for record in records(run)]


def step_folder(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:010d}"


def weights(run: Path, step: int) -> dict[str, Tensor]:
    return dict(saved_weights(step_folder(run, step)))
