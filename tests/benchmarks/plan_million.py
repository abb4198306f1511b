"""The plan of a million videos: read from a list, checked, deduplicated, written; time and memory."""

import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from result import Result

ROWS = 1_000_000
LIMIT_S = 30.0
LIMIT_MB = 1000.0
_PLAN = """
import os, sys, time
from cluster.isolation import peak_resident_mb
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.plan import settle_plan
from pipeline.prepare.settings import PrepareSettings
begun = time.perf_counter()
plan = settle_plan(sys.argv[2], VideoList([sys.argv[1]]), PrepareSettings())
taken = time.perf_counter() - begun
print(plan.videos, taken, peak_resident_mb(os.getpid()))
"""


def run() -> list[Result]:
    """A list of paths with labels and splits, as CSV and as JSONL; time and peak memory of the process that plans."""
    results = []
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        for kind in ("csv", "jsonl"):
            file = Path(folder) / f"list.{kind}"
            _write(file)
            command = [sys.executable, "-c", _PLAN, str(file), str(Path(folder) / f"out-{kind}")]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            videos, seconds, megabytes = int(said[0]), float(said[1]), float(said[2])
            if videos != ROWS:
                raise RuntimeError(f"expected {ROWS} videos, found {videos}")
            peer = f"Python's {kind.removesuffix('l')} module alone: {_plain_pass(file):.1f} s"
            results += [
                Result(f"plan_million {kind}", seconds, "s", LIMIT_S, seconds <= LIMIT_S, peer),
                Result(f"plan_million {kind} memory", megabytes, "MB", LIMIT_MB, megabytes <= LIMIT_MB, peer),
            ]
    return results


def _write(file: Path) -> None:
    with file.open("w", newline="") as lines:
        if file.suffix == ".csv":
            writer = csv.writer(lines)
            writer.writerow(["source", "labels", "split"])
            for number in range(ROWS):
                writer.writerow([_source(number), f"label {number % 300};music", "train"])
            return
        for number in range(ROWS):
            row = {"source": _source(number), "labels": [f"label {number % 300}", "music"], "split": "train"}
            lines.write(f"{json.dumps(row)}\n")


def _source(number: int) -> str:
    return f"s3://videos/batch-{number // 1000:04d}/video-{number:07d}.mp4"


def _plain_pass(file: Path) -> float:
    begun = time.perf_counter()
    with file.open(newline="") as lines:
        if file.suffix == ".csv":
            rows = sum(1 for _ in csv.reader(lines)) - 1
        else:
            rows = sum(1 for line in lines if json.loads(line))
    if rows != ROWS:
        raise RuntimeError(f"expected {ROWS} rows, found {rows}")
    return time.perf_counter() - begun
