"""What a resume with other processes, another ZeRO stage or another precision changes in the loss.

    python tests/benchmarks/resume_matrix.py [--shorter]

A run is stopped half-way and goes on in another way; its losses from there are compared with those of the run that was
never stopped, in the way in which it began. Prints a table of the largest difference, from row to column.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from result import Result

if TYPE_CHECKING:
    from tiny_training import Command

HERE = Path(__file__).resolve().parent
STEPS, CUT = 12, 4
EXACT = [
    "model.dropout=0",
    "model.visual_embedder.norm=group",
    "model.audio_embedder.norm=group",
    "train.log_every=1",
    "task.group=4",
]
"""Nothing that depends on the number of processes by its nature."""
WAYS = [(1, 1, "fp32"), (2, 2, "fp32"), (3, 3, "fp32"), (1, 3, "bf16"), (2, 1, "bf16")]
"""Processes, ZeRO stage, precision."""
MOST = {"fp32": 1e-5, "bf16": 1e-3}
"""Largest difference of the loss: summing in another order; and rounding to 8 bits, where either is bf16."""


def run() -> list[Result]:
    """The largest difference over all pairs of ways, in float32 and where one is bf16."""
    differences = matrix(WAYS)
    results = []
    for precision, most in MOST.items():
        found = [
            difference
            for (a, b), difference in differences.items()
            if ("bf16" in (a[2], b[2])) == (precision == "bf16")
        ]
        worst, pairs = max(found), len(found)
        peer = f"the run that was not stopped; {pairs} pairs of processes 1–3, ZeRO 1–3"
        results.append(Result(f"resume_matrix {precision}", worst, "", most, worst <= most, peer))
    return results


Way = tuple[int, int, str]


def matrix(ways: list[Way]) -> dict[tuple[Way, Way], float]:
    """The largest difference of the loss after going on, by the ways before and after."""
    from tiny_training import Command  # of the tests, which are on the path by now

    with tempfile.TemporaryDirectory(prefix="gavt-") as name:
        folder = Path(name)
        command = Command(folder)
        whole = {way: folder / _said(way) for way in ways}
        for way, place in whole.items():
            _train(command, place, way)
        found = {}
        for before, after in itertools.product(ways, ways):
            place = folder / "resumed"
            shutil.copytree(whole[before], place)
            for step in range(CUT + 4, STEPS + 1, 4):
                shutil.rmtree(place / f"checkpoints/step-{step:010d}")
            _train(command, place, after)
            found[before, after] = max(abs(a - b) for a, b in zip(_losses(place), _losses(whole[before]), strict=True))
            shutil.rmtree(place)
        return found


def _train(command: "Command", place: Path, way: Way) -> None:
    processes, stage, precision = way
    words = [f"train.zero_stage={stage}", f"train.precision={precision}", "train.keep_last=9", "train.batch_size=24"]
    everything = ["--nproc", str(processes), *EXACT, *words, "train.validate_every=99"]
    line = [sys.executable, "-m", "jobs.cli", "train", str(command.config), "--run", str(place), *everything]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, cwd=HERE.parents[1])
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])


def _losses(place: Path) -> list[float]:
    records = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if record["step"] > CUT]


def _said(way: Way) -> str:
    return f"{way[0]}p-Z{way[1]}-{way[2]}"


def main() -> None:
    """Print the table."""
    # as `run.py` does; the repository first, as the tests have folders of the packages' names
    sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]
    ways = WAYS[:2] if "--shorter" in sys.argv else WAYS
    found = matrix(ways)
    print("from \\ to".ljust(12), *(_said(way).rjust(12) for way in ways))
    for before in ways:
        print(_said(before).ljust(12), *(f"{found[before, after]:12.1e}" for after in ways))


if __name__ == "__main__":
    main()
