"""What an engine of the small model holds, and savers of its checkpoints."""

from cluster.process_group import ProcessGroup
from pipeline.train.checkpoints.saver import Saver
from small_engine import settings_of


def held(engine, averages=None):
    """Copies of all that an engine holds, by name and kind."""
    found = engine.fragments(averages)
    return {(one.name, kind): piece.clone() for one in found for kind, piece in one.kinds.items()}


def saver_of(folder, group, publish=lambda: None, **train):
    return Saver(folder / "checkpoints", group, settings_of(**train), publish)


class OneOfTwo(ProcessGroup):
    """A process whose other one is elsewhere in time."""

    def sum(self, values):
        return list(values)

    def from_main(self, value):
        return value

    def barrier(self):
        pass
