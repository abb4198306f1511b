"""Processes of a job that are simulated: what each holds of a model, as ZeRO 1 and ZeRO 3 share it out, and checkpoints
that they save by the real code."""

import threading
from collections.abc import Callable, Iterator, Mapping
from math import ceil
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch._C._distributed_c10d import HashStore

from cluster.process_group import ProcessGroup
from cluster.reports import Reports
from cluster.storage import Location
from pipeline.train.checkpoints import Checkpoint, commit, read_manifest
from pipeline.train.checkpoints.host_copy import HostCopy
from pipeline.train.checkpoints.layout import step_folder
from pipeline.train.checkpoints.save import Save
from pipeline.train.checkpoints.share import ShareFile, pieces_of
from pipeline.train.engine.fragments import MASTER, Fragment
from pipeline.train.engine.optimizer import KINDS as KINDS_OF_OPTIMIZERS

KINDS = (MASTER, *KINDS_OF_OPTIMIZERS["adamw"].states)
SHARE = 4096
"""Numbers that each process holds of what is trained."""


class Simulated(ProcessGroup):
    """One process of many, whose calls nobody has to answer."""

    def from_main(self, value: Any) -> Any:
        return "simulated"

    def each(self, make: Callable[[], Any]) -> Any:
        return make()

    def gather_objects(self, value: Any) -> list[Any]:
        return [value]


def parameters(ranks: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a model that grows with the number of processes, as it does where each has the same share: blocks, and
    vectors that are smaller than there are processes."""
    return {f"block.{number}.weight": (ranks, SHARE // 4 - 20) for number in range(4)} | {
        f"block.{number}.bias": (20,) for number in range(4)
    }


def fragments(ranks: int, rank: int, stage: int, fill: Callable[[str, str, int, int], Tensor]) -> Iterator[Fragment]:
    """What a process holds: a stretch of all parameters in a row at stage 1, of each of them at stage 3."""
    shapes, start = parameters(ranks), 0
    total = sum(torch.Size(shape).numel() for shape in shapes.values())
    own = ceil(total / ranks)
    for name, shape in shapes.items():
        size = torch.Size(shape).numel()
        if stage == 3:
            part = ceil(size / ranks)
            low, high = min(size, rank * part), min(size, (rank + 1) * part)
        else:
            low, high = (min(max(at - start, 0), size) for at in (rank * own, (rank + 1) * own))
        start += size
        if high > low:
            yield Fragment(name, shape, low, {kind: fill(name, kind, low, high) for kind in KINDS}, True)


def number_of(name: str, kind: str, low: int, high: int) -> Tensor:
    """What such a process has in a stretch of a parameter."""
    begin = 1000 * sorted(parameters(1)).index(name) + KINDS.index(kind)
    return torch.arange(low, high, dtype=torch.float32) + begin


def save(checkpoints: Location, ranks: int, stage: int, known: Mapping[str, Any] = MappingProxyType({})) -> Checkpoint:
    """A checkpoint of so many processes, after one step.

    Args:
        known: more of what its manifest says.
    """
    store, target = HashStore(), step_folder(checkpoints, 1)
    for rank in reversed(range(ranks)):
        reports = Reports(Simulated(rank, 0, ranks, torch.device("cpu"), store=store))
        held = list(fragments(ranks, rank, stage, number_of))
        pieces = [piece for one in held for piece in pieces_of(one)]
        layout, copy = ShareFile(pieces), HostCopy()
        numbers = [numbers for one in held for numbers in one.kinds.values()]
        copy.note(layout.header, layout.bytes, zip(numbers, layout.offsets, strict=True), [])
        manifest = {"step": 1, "settings": {}, "state": {}, "world_size": ranks} | dict(known) if rank == 0 else {}
        one = Save(1, 1, target, pieces, layout, manifest, 0.0)
        reports.send(1, commit.write_share(one, copy.take(), rank))
    commit.make_whole(one, reports, threading.Event().is_set)
    return read_manifest(target)
