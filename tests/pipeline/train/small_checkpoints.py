"""What an engine of the small model holds, and savers of its checkpoints."""

import json
import zlib

import torch
from torch._C._distributed_c10d import HashStore

from cluster.process_group import ProcessGroup
from pipeline.train.checkpoints import go_on_from
from pipeline.train.checkpoints.layout import DamagedError
from pipeline.train.checkpoints.saver import Saver
from pipeline.train.checkpoints.verify import problems
from small_engine import settings_of


def held(engine, averages=None):
    """Copies of all that an engine holds, by name and kind."""
    found = engine.fragments(averages)
    return {(one.name, kind): piece.clone() for one in found for kind, piece in one.kinds.items()}


def saver_of(folder, group, publish=lambda: None, **train):
    return Saver(folder / "checkpoints", group, settings_of(**train), publish)


def report_of_another(group, saver, number=1, files=()):
    """Have the other process say that it has written, and that it holds nothing of its own."""
    found = [{"name": name, "bytes": 1} for name in files]
    report = zlib.compress(json.dumps({"files": found, "rows": []}).encode())
    group.store.set(f"report {saver._reports._name} {number} 1 0", report)
    group.store.set(f"report {saver._reports._name} {number} 1", "1")


def newest_checkpoint(folder):
    """The newest below a folder of which every file is what was saved."""

    def whole(checkpoint):
        for problem in problems(checkpoint):
            raise DamagedError(problem)
        return checkpoint

    return go_on_from(folder, whole)


class OneOfTwo(ProcessGroup):
    """A process whose other one is elsewhere in time; what that one reports lies in `store`."""

    def __init__(self):
        super().__init__(0, 0, 2, torch.device("cpu"), store=HashStore())

    def sum(self, values):
        return list(values)

    def from_main(self, value):
        return value

    def gather_objects(self, value):
        return [value, None]

    def barrier(self):
        pass
