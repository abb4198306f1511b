"""A checkpoint's states into an engine, whatever the number of processes, the ZeRO stage and the precision of either.

Every process reads its own fragments, by range, from the files of those that saved them, and compares what it reads
with its hashes as it reads it; what all of them hold is read once for all. So there is one
way for a run that goes on as it was and for one that goes on otherwise, and both are equal to the bit: masters and
the optimiser's states, those of teachers and of what is frozen too, are float32 everywhere.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cluster import storage
from cluster.patience import wait_for_turn
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import Checkpoint
from pipeline.train.checkpoints.saved_state import SavedState
from pipeline.train.checkpoints.share_reader import Wish
from pipeline.train.engine.engine import Engine
from pipeline.train.engine.fragments import EMA, MASTER, Fragment


@torch.no_grad()
def load_engine(checkpoint: Checkpoint, engine: Engine, averages: Sequence[Tensor] | None = None) -> None:
    """Put a checkpoint's weights, optimiser states, buffers and counters into the engine; every process must call it.

    Args:
        averages: where the moving averages go of the tensors that the optimiser steps.

    Raises:
        DamagedError: what was read is not what was saved; the engine then holds anything.
        CheckpointError: something that the model has is not in it.
        StorageError: a file can't be read.
    """
    saved = SavedState(checkpoint)
    if storage.is_remote(checkpoint.url):
        wait_for_turn(engine.group.nodes)
    with engine.changing():
        alike = engine.group.each(lambda: _fill_own(engine, averages, saved, checkpoint.url))
        saved.read_together(alike, engine.group)
    engine.set_counters(checkpoint.manifest["engine"])


def _fill_own(engine: Engine, averages: Sequence[Tensor] | None, saved: SavedState, url: str) -> list[Wish]:
    """Fill what this process alone holds; what is to be read of the rest, which is alike on all."""
    own: list[Wish] = []
    alike: list[Wish] = []
    for fragment in engine.fragments(averages, changed=True):
        wishes = _wishes(fragment, saved, url)
        if not fragment.alone:
            alike += wishes
        elif engine.states_in_files:  # and in memory only until the next one is asked for
            saved.read(wishes)
        else:
            own += wishes
    saved.read(own)
    return alike


def _wishes(fragment: Fragment, saved: SavedState, url: str) -> Iterator[Wish]:
    """What is to be read for a fragment; states of the optimiser that it never had become zeros."""
    if saved.shapes.get(fragment.name) != fragment.shape:
        raise CheckpointError(
            f"{url}: expected {fragment.name} of shape {list(fragment.shape)}, "
            f"found {list(saved.shapes[fragment.name]) if fragment.name in saved.shapes else 'none'}"
        )
    for kind, piece in fragment.kinds.items():
        if kind not in (MASTER, EMA) and not saved.has(fragment.name, kind):
            piece.zero_()  # it never had a gradient
        else:
            yield from saved.wishes(fragment.name, kind, fragment.start, piece)
