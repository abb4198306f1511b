"""What a checkpoint will hold, noted at a moment: a process's share of all states, and the manifest."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from torch import Tensor

from cluster import storage
from cluster.process_group import ProcessGroup
from pipeline.train.checkpoints.host_copy import HostCopy
from pipeline.train.checkpoints.layout import MANIFEST, step_folder
from pipeline.train.checkpoints.save import Save
from pipeline.train.checkpoints.share import ShareFile, pieces_of
from pipeline.train.engine.engine import Engine
from pipeline.train.engine.fragments import Fragment
from pipeline.train.run_settings import RunSettings


class StateTaker:
    """Takes the states of a run's engines.

    Args:
        folder: where the checkpoints go (path or URL).

    Attributes:
        copy: into host memory of what is noted; `copy.take()` makes it, from any thread, before the optimiser steps.
    """

    def __init__(self, folder: str, group: ProcessGroup, settings: RunSettings) -> None:
        self.copy = HostCopy()
        self._folder, self._group, self._settings = folder, group, settings
        self._number = 0
        # steps whose folder something is in: a torn save, a damaged one, or what a run that went back will save again
        self._there = set(group.on_main(lambda: storage.list_folders(folder)))

    def take(
        self, engine: Engine, step: int, state: Mapping[str, Any], averages: Sequence[Tensor] | None, begun: float
    ) -> Save:
        """Note what a save after `step` steps, begun at `begun`, writes; every process calls it.

        Raises:
            StorageError: what was saved there before can't be removed.
        """
        target = step_folder(self._folder, step)
        self._group.on_main(lambda: self._make_room(target))
        mine: Iterable[Fragment] = (one for one in engine.fragments(averages) if one.alone or self._group.is_main)
        if engine.states_in_files:  # and in memory only until the next one is asked for
            mine = (replace(one, kinds={kind: piece.clone() for kind, piece in one.kinds.items()}) for one in mine)
        held = list(mine)
        pieces = [piece for one in held for piece in pieces_of(one)]
        layout = ShareFile(pieces)
        numbers = [numbers for one in held for numbers in one.kinds.values()]
        placed = zip(numbers, layout.offsets, strict=True)
        self.copy.note(layout.header, layout.bytes, placed, list(engine.module.buffers()))
        manifest = self._manifest(engine, step, state) if self._group.is_main else {}
        self._number += 1
        return Save(step, self._number, target, pieces, layout, manifest, begun)

    def _make_room(self, target: str) -> None:
        name = target.rsplit("/", 1)[-1]
        if name in self._there:
            storage.remove_folder(target, first=MANIFEST)
        self._there.add(name)

    def _manifest(self, engine: Engine, step: int, state: Mapping[str, Any]) -> dict[str, Any]:
        train = self._settings.train
        return {
            "step": step,
            "time": round(time.time(), 3),
            "world_size": self._group.world_size,
            "zero_stage": train.zero_stage,
            "precision": train.precision,
            "engine": engine.counters(),
            "state": dict(state),
            "settings": self._settings.model_dump(mode="json"),
            "versions": {name: version(name) for name in ("gavt", "torch", "deepspeed")},
        }
