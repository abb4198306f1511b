"""What going on from a checkpoint costs, against reading and hashing its bytes once.

    python tests/benchmarks/resume_cost.py      CPU seconds of both

One process, 16 matrices of 1024 × 1024, ZeRO 1, float32: 16.8 million parameters with two moments each, 0.2 GB.
"""

import hashlib
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

from cluster.process_group import ProcessGroup, join_process_group
from pipeline.experiment import ExperimentSettings
from pipeline.train.checkpoints.find import find_checkpoint, go_on_from
from pipeline.train.checkpoints.restore import load_engine
from pipeline.train.checkpoints.saver import Saver
from pipeline.train.engine.build import build_engine
from result import Result
from saving_stall import Stack

LAYERS = 16
ROUNDS = 4
MOST = 2.5


def run() -> list[Result]:
    """The least of several rounds in turns."""
    resumed, plain = measure()
    peer = f"one pass over its bytes: read into memory that is there, and hashed ({plain:.2f} s)"
    return [Result("resume_cost cpu", resumed / plain, "×", MOST, resumed <= MOST * plain, peer)]


def measure() -> tuple[float, float]:
    """CPU seconds of a resume, and of its peer."""
    group = join_process_group()
    try:
        with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
            return _measure(group, Path(folder))
    finally:
        group.leave()


def _measure(group: ProcessGroup, folder: Path) -> tuple[float, float]:
    settings = ExperimentSettings.model_validate({"train": {"batch_size": 8, "zero_stage": 1}})
    engine = build_engine(Stack(LAYERS), settings.train, settings.train.batch_size, group)
    for fragment in engine.fragments(changed=True):
        for numbers in fragment.kinds.values():
            numbers.normal_()
    saver = Saver(folder / "checkpoints", group, settings, lambda: None)
    saver.save(engine, 1, {})
    saver.finish()
    (file,) = folder.glob("checkpoints/step-*/rank-00000.safetensors")
    room = bytearray(file.stat().st_size)

    def resume() -> None:
        go_on_from(folder / "checkpoints", lambda checkpoint: load_engine(checkpoint, engine), group)

    def read_once() -> None:
        with file.open("rb", buffering=0) as source:
            source.readinto(room)
        hashlib.sha256(room).hexdigest()

    assert find_checkpoint(str(folder)).step == 1
    found = [(_cpu_s(resume), _cpu_s(read_once)) for _ in range(ROUNDS)]
    return min(one for one, _ in found), min(one for _, one in found)


def _cpu_s(work: Callable[[], None]) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    resumed, plain = measure()
    print(f"resume {resumed:.3f} s of CPU, one pass over its bytes {plain:.3f} s")
