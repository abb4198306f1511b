"""What a whole `gavt train` of three quickstart steps costs, with one process and with two: a preempted fleet pays it
with every start. Beside it a bare script of DeepSpeed's, without data, validation, maps, records and checkpoints."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _realistic_samples import write_realistic
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from result import Result

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/experiments/quickstart.yaml"
ROUNDS = 5
MOST_CPU_S = {1: 3.9, 2: 7.1}
"""Half of what a start took before any of it was left out."""
MOST_S = {1: 5.0, 2: 6.0}
SAMPLES = 256


def run() -> list[Result]:
    """The least of several rounds in turns. Seconds on the wall are promised of a machine that has nothing else to
    do; so are those of its cores, but for a fifth."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as place:
        folder = Path(place)
        size = load_settings(str(CONFIG), ExperimentSettings).settings.features.audio_samples
        shards = write_realistic(folder / "shards", SAMPLES, 128, 128, size, [(0.25, 0.25, 0.75, 0.75)])
        return [result for processes in (1, 2) for result in _measure(processes, shards, folder)]


def _measure(processes: int, shards: Path, folder: Path) -> list[Result]:
    words = ["train.steps=3", f"data.train={shards}", f"data.validation={shards}", "--nproc", str(processes)]
    ours, bare = [], []
    for turn in range(ROUNDS + 1):
        run = folder / f"run-{processes}-{turn}"
        found = _cost("-m", "jobs.cli", "train", str(CONFIG), *words, "--run", str(run))
        script = str(Path(__file__).with_name("_bare_start.py"))
        peer = _cost("-m", "torch.distributed.run", "--nproc-per-node", str(processes), script)
        if turn:  # operations are compiled, and files read from disk, in the first
            ours.append(found)
            bare.append(peer)
    (cpu_s, wall_s), (bare_cpu_s, bare_wall_s) = (tuple(map(min, zip(*one, strict=True))) for one in (ours, bare))
    name, load = f"start_up {processes} process{'es' if processes > 1 else ''}", os.getloadavg()[0]
    limits = ((cpu_s, MOST_CPU_S, bare_cpu_s, "cpu"), (wall_s, MOST_S, bare_wall_s, "wall"))
    return [
        Result(
            f"{name} {kind}",
            figure,
            "s",
            most[processes],
            figure <= most[processes],
            f"{peer_s:.1f} s of torchrun with a bare engine; load {load:.0f}",
        )
        for figure, most, peer_s, kind in limits
    ]


def _cost(*words: str) -> tuple[float, float]:
    """Seconds of all cores, those of its children too, and on the wall."""
    environment = os.environ | {"WANDB_MODE": "offline", "DS_ACCELERATOR": "cpu"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    begun_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s, time.monotonic() - begun_s
