"""All ranks of jobs that start, each a process: what `gavt train` does from its settings to the samples of the first
step, by the real code. Simulated are the collectives, the engine with what it holds, and the step.

python tests/cold_start_ranks.py [FOLDER CONFIG RUN MACHINES RANKS]…

Of each job the main process goes first, and notes what it says to the others; then come the ranks of one machine after
the other, those of a machine side by side. Machines share nothing but CONFIG and RUN: each has its TMPDIR below FOLDER.
"""

import gc
import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._C._distributed_c10d import HashStore

from cluster.process_group import ProcessGroup
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train import loop
from pipeline.train.checkpoints import Checkpoint
from pipeline.train.checkpoints.restore import load_engine
from pipeline.train.engine.fragments import Fragment
from pipeline.train.micro_batches import MicroBatches
from pipeline.train.run_settings import RunSettings
from simulated_ranks import fragments, number_of

STAGE = 1
"""As ZeRO 1 shares states out."""


@dataclass(frozen=True)
class Told(ProcessGroup):
    """One process of many that meets nobody.

    Attributes:
        said: what the main process says, in order: it adds to it, the others take from it.
    """

    said: list[bytes] = field(default_factory=list, compare=False)

    def from_main(self, value: Any) -> Any:
        if self.is_main:
            self.said.append(pickle.dumps(value))
            return value
        return pickle.loads(self.said.pop(0))

    def gather_objects(self, value: Any) -> list[Any]:
        return [value] * self.world_size

    def broadcast(self, values: Tensor, source: int) -> None:
        if self.rank != source:
            values.zero_()

    def first_of_each_machine(self) -> list[int]:
        return list(range(0, self.world_size, self.world_size // self.nodes))


class HeldStates:
    """In the place of an engine: its share of the states."""

    states_in_files = False

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group
        self.held = list(fragments(group.world_size, group.rank, STAGE, lambda *_: torch.zeros(_[3] - _[2])))

    def changing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def fragments(self, averages: None, changed: bool) -> Iterator[Fragment]:
        yield from self.held

    def set_counters(self, counters: object) -> None:
        for one in self.held:
            for kind, numbers in one.kinds.items():
                assert torch.equal(numbers, number_of(one.name, kind, one.start, one.start + one.size))


class SimulatedState:
    """In the place of `TrainingState`."""

    started = average_change = None

    def __init__(
        self, settings: RunSettings, micro_batch: int, group: ProcessGroup, checkpoint: Checkpoint, source: None
    ) -> None:
        self.engine = HeldStates(group)
        load_engine(checkpoint, self.engine)


class FirstStepError(Exception):
    """The first step has its samples."""


class FirstStep:
    """In the place of `Stepper`."""

    def __init__(
        self, settings: RunSettings, micro_batch: int, group: ProcessGroup, batches: MicroBatches, watchdog: object
    ) -> None:
        self._batches = batches

    def run(self, *_: object) -> None:
        next(self._batches)
        raise FirstStepError


def start(group: Told, config: str, run: str, folder: Path) -> None:
    """What one rank does."""
    local = group.world_size // group.nodes
    place = folder / f"machine-{group.rank // local}"
    place.mkdir(exist_ok=True)
    where = {"RANK": group.rank, "LOCAL_RANK": group.local_rank, "WORLD_SIZE": group.world_size}
    where |= {"LOCAL_WORLD_SIZE": local, "MASTER_ADDR": "main", "MASTER_PORT": 1, "TMPDIR": place}
    os.environ.update({name: str(value) for name, value in where.items()})
    tempfile.tempdir = None
    settings = load_settings(config, ExperimentSettings).settings
    try:
        loop.train(settings, run, group, lambda record: None)
    except FirstStepError:
        return
    raise RuntimeError("expected a first step")


def forked(group: Told, config: str, run: str, folder: Path) -> int:
    """A process that is one rank; the main one writes what it says."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        start(group, config, run, folder)
        if group.is_main:
            (folder / "said").write_bytes(pickle.dumps((group.said, list(sys.modules))))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def start_job(config: str, run: str, folder: Path, nodes: int, world: int) -> None:
    """Start all ranks of a job."""
    of_one, said = world // nodes, []
    main, machines = range(1), [range(first, first + of_one) for first in range(0, world, of_one)]
    for ranks in (main, machines[0][1:], *machines[1:]):
        pids = []
        for rank in ranks:
            group = Told(rank, rank % of_one, world, torch.device("cpu"), nodes, store=HashStore(), said=list(said))
            pids.append(forked(group, config, run, folder))
        if any(os.waitpid(pid, 0)[1] for pid in pids):
            raise SystemExit(f"one of the ranks {ranks} has failed")
        if not said:
            said, modules = pickle.loads((folder / "said").read_bytes())
            for name in modules:  # or each process would import for itself, which takes longer than all else
                with suppress(ImportError):
                    import_module(name)
            gc.freeze()


def main() -> None:
    loop.TrainingState, loop.Stepper = SimulatedState, FirstStep
    words = sys.argv[1:]
    for at in range(0, len(words), 5):
        folder, config, run, machines, ranks = words[at : at + 5]
        start_job(config, run, Path(folder), int(machines), int(ranks))


if __name__ == "__main__":
    main()
