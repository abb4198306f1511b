"""On a GPU: model FLOPs utilisation of the large variants, and samples a second against the paper's own training.

Frames and sound are noise that lies on the GPU from the first step on, so that nothing is measured but training:
targets, augmentation, spectrograms, model and optimiser, on one GPU.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from result import NotHere, Result

ROOT = Path(__file__).parents[2]
STEPS = 12
LEAST_MFU, LEAST_GAIN = 0.45, 6.0
MICRO_BATCHES = {"large": 64, "huge": 32}
"""Samples at once of each variant; `gavt plan` finds those that fit."""


def run() -> list[Result]:
    """The thesis trains in float32, eager, without recomputation; its loader is left out, in its favour."""
    if not torch.cuda.is_available():
        raise NotHere("it needs a GPU")
    results = []
    for variant, micro in MICRO_BATCHES.items():
        found = _dry_run(f"gavt_{variant}", f"train.batch_size={micro}", f"train.micro_batch={micro}")
        peer = f"the peak of {found['device']}; {micro} at once, {found['samples_per_s']:.1f} samples/s"
        peer += f", {found['memory_gib']:.1f} GiB, {found['parameters'] / 1e6:.0f} million parameters"
        mfu = found["mfu"] or 0.0
        results.append(Result(f"MFU of G-AVT {variant}, bf16", mfu, "", LEAST_MFU, mfu >= LEAST_MFU, peer))
    batch = ["train.batch_size=256", "train.micro_batch=256"]
    paper = _dry_run("gavt_c", *batch)["samples_per_s"]
    ours = _dry_run("gavt_c", *batch, "train.precision=bf16", "train.compile=true")["samples_per_s"]
    peer = f"float32, eager: {paper:.1f} samples/s; ours {ours:.1f}"
    return [*results, Result("G-AVTc, samples/s", ours / paper, "", LEAST_GAIN, ours / paper >= LEAST_GAIN, peer)]


def _dry_run(experiment: str, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "jobs.cli", "train", f"configs/experiments/{experiment}.yaml", *words]
    command += ["--dry-run", "--dry-steps", str(STEPS), "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
