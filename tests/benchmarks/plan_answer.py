"""How long `gavt plan` takes to answer, beside importing torch alone, without which nothing is planned."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from result import Result

ROOT = Path(__file__).parents[2]
ROUNDS = 3
MOST_S = 3.0
WORDS = ("plan", "gavt_c", "--gpus", "8", "--gpu", "h100")


def run() -> list[Result]:
    """The least of some rounds in turns. Seconds on the wall are promised of a machine that has nothing else to do."""
    ours, bare = [], []
    for turn in range(ROUNDS + 1):
        found, peer = _cost("-m", "jobs.cli", *WORDS), _cost("-c", "import torch")
        if turn:  # files are read from disk in the first
            ours.append(found)
            bare.append(peer)
    load = os.getloadavg()[0]
    return [
        Result(
            f"plan_answer {kind}",
            min(one),
            "s",
            MOST_S,
            min(one) <= MOST_S,
            f"import torch {min(other):.2f} s; load {load:.0f}",
        )
        for kind, one, other in zip(("cpu", "wall"), zip(*ours, strict=True), zip(*bare, strict=True), strict=True)
    ]


def _cost(*words: str) -> tuple[float, float]:
    """Seconds of all cores, and on the wall."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begun_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - begun_s
