"""Going on at 90 % of an epoch of a million samples: from nothing to the first batch."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import webdataset

from _realistic_samples import write_realistic
from result import Result

SHARDS = 1000
SAMPLES_PER_SHARD = 1000
POSITION = 900_000
LIMIT_S = 1.0
ROUNDS = 5
SIDE = 32
AUDIO_SAMPLES = 2047
_RESUME = f"""
import sys, time
from pipeline.features.settings import FeatureSettings
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import plan_reading
from pipeline.stream.settings import DataSettings
from pipeline.stream.worker_pool import WorkerPool
position = int(sys.argv[2])
begun = time.perf_counter()
features = FeatureSettings(frame_size={SIDE}, audio_samples={AUDIO_SAMPLES})
with WorkerPool(2, 120) as pool:
    plan = plan_reading(sys.argv[1], features, DataSettings(), seed=0, augment=True)
    loader = Loader(plan, 64, pool=pool)
    batch = next(loader.batches(range(start, start + 64) for start in range(position, position + 6400, 64)))
    taken = time.perf_counter() - begun
if len(plan) != {SHARDS * SAMPLES_PER_SHARD} or len(batch) != 64 or batch.replaced:
    raise RuntimeError(f"expected 64 good samples of a million, found {{len(batch)}}, {{batch.replaced}} bad")
print(taken)
"""


def run() -> list[Result]:
    """New processes, the start of the loader's own processes included, imports not. Small samples in a thousand tars,
    which are links to one: what is looked up and opened is what a real set takes."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        shards = _link_shards(Path(folder))
        late, early = [], []
        for _ in range(ROUNDS):
            late.append(_first_batch_s(shards, POSITION))
            early.append(_first_batch_s(shards, 0))
        pass_s = _pass_over(shards / "shard-000000.tar")
    shards_before = POSITION // SAMPLES_PER_SHARD
    peer = (
        f"the beginning of the epoch: {median(early):.2f} s; webdataset, which reads {shards_before} shards to get "
        f"there: {pass_s * shards_before:.0f} s"
    )
    seconds = median(late)
    return [Result("stream_resume", seconds, "s", LIMIT_S, seconds <= LIMIT_S, peer)]


def _link_shards(folder: Path) -> Path:
    """A shard set of which every shard is the first one."""
    shards = write_realistic(folder / "shards", SAMPLES_PER_SHARD, SAMPLES_PER_SHARD, SIDE, AUDIO_SAMPLES)
    dataset = json.loads((shards / "dataset.json").read_text())
    entry = dataset["shards"][0]
    for number in range(1, SHARDS):
        for kind in ("tar", "json"):
            os.link(shards / f"shard-000000.{kind}", shards / f"shard-{number:06d}.{kind}")
    entries = [entry | {"name": f"shard-{number:06d}.tar"} for number in range(SHARDS)]
    whole = dataset | {"samples": SHARDS * SAMPLES_PER_SHARD, "shards": entries}
    (shards / "dataset.json").write_text(json.dumps(whole))
    return shards


def _first_batch_s(shards: Path, position: int) -> float:
    command = [sys.executable, "-c", _RESUME, str(shards), str(position)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout)


def _pass_over(tar: Path) -> float:
    """Seconds that webdataset takes for the samples of a shard, not decoded."""
    begun = time.perf_counter()
    found = sum(1 for _ in webdataset.WebDataset([str(tar)], shardshuffle=False))
    if found != SAMPLES_PER_SHARD:
        raise RuntimeError(f"expected {SAMPLES_PER_SHARD} samples, found {found}")
    return time.perf_counter() - begun
