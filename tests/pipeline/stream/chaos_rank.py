"""One rank of a job that only reads: `python chaos_rank.py JSON`. It notes each batch on disk before it takes the next.

LOG       a JSON line a batch: step, positions, keys, how many bad ones each stands in for, CRC-32 of its tensors
CURSOR    the step at which it goes on, renewed every few steps, as a checkpoint would be
GOAL      once there: the step before which it ends
"""

import json
import os
import sys
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.features.settings import FeatureSettings
from pipeline.stream.settings import CacheSettings, DataSettings
from tiny_shards import FEATURES

SEED = 11
STEPS_A_CURSOR = 3
MICRO_BATCHES = 2
BLOCK_SAMPLES, LANES = 24, 3


@dataclass(frozen=True)
class Job:
    """What a rank is told; `batch_size` is that of all ranks together."""

    url: str
    cache: str
    cache_gigabytes: float
    workers: int
    rank: int
    world_size: int
    batch_size: int
    step_s: float
    log: str
    cursor: str
    goal: str

    def dump(self) -> str:
        return json.dumps(asdict(self))


def data_settings(cache: CacheSettings, workers: int) -> DataSettings:
    return DataSettings(
        workers=workers, block_samples=BLOCK_SAMPLES, lanes=LANES, prefetch=2, deadline_s=10, cache=cache
    )


def features() -> FeatureSettings:
    return FeatureSettings.model_validate(FEATURES)


def crc_of(frames: npt.NDArray[np.uint8], audio: npt.NDArray[np.int16]) -> int:
    """Of one sample's tensors."""
    return zlib.crc32(np.ascontiguousarray(audio).tobytes(), zlib.crc32(np.ascontiguousarray(frames).tobytes()))


def main() -> None:
    from pipeline.stream.loader import Loader
    from pipeline.stream.read_plan import plan_reading
    from pipeline.stream.steps import steps_of

    job = Job(**json.loads(sys.argv[1]))
    cache = CacheSettings(folder=job.cache, gigabytes=job.cache_gigabytes, read_ahead=64)
    plan = plan_reading(job.url, features(), data_settings(cache, job.workers), SEED, augment=True)
    first, parent = int(Path(job.cursor).read_text()), os.getppid()
    micro = job.batch_size // job.world_size // MICRO_BATCHES
    pieces = steps_of(plan, first * job.batch_size, 1 << 40, job.batch_size, micro, job.rank, job.world_size)
    with Loader(plan, micro) as loader, open(job.log, "a") as log:
        for number, batch in enumerate(loader.batches(pieces)):
            step = first + number // MICRO_BATCHES
            line = {
                "step": step,
                "time": time.time(),
                "positions": batch.positions,
                "keys": batch.keys,
                "bad": [len(note.bad) for note in batch.notes],
                "crcs": [crc_of(*one) for one in zip(*(part.numpy() for part in batch.tensors.values()), strict=True)],
            }
            log.write(json.dumps(line) + "\n")
            log.flush()
            os.fsync(log.fileno())
            if number % MICRO_BATCHES < MICRO_BATCHES - 1:
                continue
            if (step + 1) % STEPS_A_CURSOR == 0:
                write_whole(job.cursor, str(step + 1))
            if os.path.exists(job.goal) and step + 1 >= int(Path(job.goal).read_text()):
                write_whole(job.cursor, str(step + 1))
                return
            if os.getppid() != parent:  # the test was ended
                return
            time.sleep(job.step_s)


def write_whole(path: str, text: str) -> None:
    """A reader sees the old text or the new one."""
    Path(f"{path}.part").write_text(text)
    os.replace(f"{path}.part", path)


if __name__ == "__main__":
    main()
