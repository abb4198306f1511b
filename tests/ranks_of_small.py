"""One of several processes that save the small model in every way, and go on from what other numbers of them saved.

python ranks_of_small.py OUT [IN…]
"""

import sys
from pathlib import Path

import torch

from cluster.process_end import end_process
from cluster.process_group import ProcessGroup, join_process_group
from pipeline.train.checkpoints import find_checkpoint
from pipeline.train.checkpoints.restore import load_engine
from pipeline.train.checkpoints.saver import Saver
from saved_weights import saved_weights
from small_engine import WAYS, assert_equal, build, everything, settings_of, train


def save(out: Path, group: ProcessGroup) -> None:
    """Train the model in every way, save it, and keep what DeepSpeed says that it holds."""
    for stage, precision in WAYS:
        engine = build(group, stage, precision, seed=stage, steps=3)
        averages = [master.detach().clone() for master in engine.masters()]
        train(engine, 1, group.world_size)
        run = out / f"{stage}-{precision}"
        saver = Saver(run / "checkpoints", group, settings_of(stage, precision), lambda: None)
        saver.save(engine, 4, {}, averages)
        saver.finish()
        found = everything(engine)
        if group.is_main:
            torch.save(found, run / "everything.pt")


def compare(folder: Path, group: ProcessGroup) -> None:
    """Go on from every checkpoint below `folder` in every way, and have DeepSpeed say what is there."""
    for stage, precision in WAYS:
        engine = build(group, stage, precision, seed=9)
        averages = [torch.zeros(master.shape) for master in engine.masters()]
        for run in sorted(folder.iterdir()):
            load_engine(find_checkpoint(str(run)), engine, averages)
            assert_equal(everything(engine), torch.load(run / "everything.pt"))
            kept = [average.clone() for average in averages]
            # the average, seen through the engine's own eyes
            for average, master in zip(averages, engine.masters(), strict=True):
                master.data.copy_(average)
            assert_averages(everything(engine), run)
            assert all(torch.equal(a, b) for a, b in zip(kept, averages, strict=True))
        load_engine(find_checkpoint(str(run)), engine, averages)
        train(engine, 1, group.world_size)


def assert_averages(found: dict[str, torch.Tensor], run: Path) -> None:
    weights = saved_weights(run, average=True)
    for key, value in found.items():
        kind, name = key.split(" ")
        if kind == "fp32":
            assert torch.equal(value, weights[name].flatten()), name


def main() -> None:
    group = join_process_group()
    try:
        save(Path(sys.argv[1]), group)
        for folder in sys.argv[2:]:
            compare(Path(folder), group)
    finally:
        group.leave()


if __name__ == "__main__":
    main()
    end_process(0)
