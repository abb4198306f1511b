"""Make the picture of the curves of all ZeRO stages and precisions on two processes, beside one process's.

python tests/training_curves.py [OUT.png]        jobs/images/training_curves.png by default; takes some minutes
"""

import os
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from many_runs import train_all  # noqa: E402  # found on the path from here on
from tiny_training import Command  # noqa: E402

# learnt by step 160; where nearly nothing is wrong any more, a rounding decides about what is
LEARNING = ["train.steps=176", "train.learning_rate=3e-3", "train.log_every=4", "train.validate_every=16"]
# statistics of the whole batch, whatever the number of processes
EXACT = ["model.dropout=0", "model.visual_embedder.norm=sync_batch", "model.audio_embedder.norm=sync_batch"]
ALL = [*LEARNING, *EXACT, "task.negatives=unlike", "train.checkpoint_every=176"]


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "jobs/images/training_curves.png"
    every = [(stage, precision) for precision, stage in product(("fp32", "bf16"), (0, 1, 2, 3))]
    with tempfile.TemporaryDirectory(prefix="gavt-") as place:
        folder = Path(place)
        config = Command(folder / "data").config
        alone = folder / "1 process, ZeRO-0, fp32"
        train_all(config, [[alone, *ALL, "train.zero_stage=0"]], 1)
        runs = {key: folder / f"2 processes, ZeRO-{key[0]}, {key[1]}" for key in every}
        words = [[runs[key], *ALL, f"train.zero_stage={key[0]}", f"train.precision={key[1]}"] for key in every]
        train_all(config, words, 2, limit_s=3600)
        command = [sys.executable, "-m", "jobs.cli", "compare", alone, *runs.values(), "--plot", out]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        raise SystemExit(subprocess.run([*map(str, command)], env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
