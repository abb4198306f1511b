"""A tiny training run, in this process or as the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from tiny_shards import FEATURES, MODEL, write_shard_set

TRAIN = {
    "steps": 12,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "log_every": 2,
    "validate_every": 6,
    "checkpoint_every": 4,
    "keep_last": 2,
}


class Command:
    """`gavt train` on tiny shards, as a person runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "tiny.yaml"
        settings = {
            "name": "tiny",
            "data": {
                "train": str(write_shard_set(folder / "train", 48)),
                "validation": str(write_shard_set(folder / "validation", 24, seed=1)),
                "workers": 0,  # which start in no time
            },
            "features": FEATURES,
            "model": MODEL | {"dropout": 0.1},
            "train": TRAIN,
        }
        self.config.write_text(yaml.safe_dump(settings))

    def start(self, run: Path, *words: str, wandb: str = "disabled") -> subprocess.Popen[str]:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": wandb}
        command = [sys.executable, "-m", "jobs.cli", "train", str(self.config), "--run", str(run), *words]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def finish(self, run: Path, *words: str, wandb: str = "disabled", code: int = 0) -> tuple[str, str]:
        process = self.start(run, *words, wandb=wandb)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, err
        return out, err


def curve(run: Path) -> list[tuple[float, ...]]:
    """Step, loss, accuracy and validation of every record: what must be equal after any interruption."""
    names = ("step", "loss", "accuracy", "learning_rate", "grad_norm", "validation/loss", "validation/accuracy")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [tuple(record.get(name) for name in names) for record in records]
