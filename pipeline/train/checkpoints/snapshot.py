"""What a checkpoint will hold, noted at a moment: DeepSpeed's states, averages, teachers, and the manifest."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from cluster.process_group import ProcessGroup
from pipeline.train.checkpoints.host_copy import HostCopy
from pipeline.train.checkpoints.layout import ENGINE, average_file, masters_file, swapped_file
from pipeline.train.checkpoints.retention import remove
from pipeline.train.checkpoints.save import Save
from pipeline.train.checkpoints.saved_state import describe
from pipeline.train.engine.engine import Engine
from pipeline.train.engine.fragments import Fragment
from pipeline.train.run_settings import RunSettings


class StateTaker:
    """Takes the states of a run's engines.

    Attributes:
        copies: into host memory of what is noted; `copies.take()` makes them, from any thread, before the optimiser
            steps.
    """

    def __init__(self, group: ProcessGroup, settings: RunSettings) -> None:
        self.copies = HostCopy()
        self._group, self._settings = group, settings

    def take(
        self,
        target: Path,
        engine: Engine,
        step: int,
        state: Mapping[str, Any],
        averages: Sequence[Tensor] | None,
        begun: float,
    ) -> Save:
        """Note what a save into the folder `target`, begun at `begun`, writes; every process calls it.

        Raises:
            OSError: the small files that DeepSpeed writes at once can't be written.
            CheckpointError: DeepSpeed keeps a state back.
        """
        if self._group.is_main and target.exists():
            remove(target)  # a torn save, or one of the same step
        self._group.barrier()
        self.copies.begin(engine.module.buffers())
        states: dict[Path, Any] = {}

        def note(file: Path, content: Any) -> None:
            states[file] = self.copies.add(str(file.relative_to(target)), content)

        engine.hand_over(target, ENGINE, note)
        rank = self._group.rank
        if self._group.is_main or engine.zero_stage > 0:  # else all have the same
            if averages is not None:
                note(target / average_file(rank), {"averages": list(averages)})
            if engine.masters_beside:
                note(target / masters_file(rank), {"masters": engine.masters_beside})
        mine: Iterable[Fragment] = (one for one in engine.fragments(averages) if one.alone or self._group.is_main)
        if engine.states_in_files:  # of which DeepSpeed's files only hold what was in memory
            mine = [replace(one, kinds={kind: piece.clone() for kind, piece in one.kinds.items()}) for one in mine]
            note(target / swapped_file(rank), {one.name: one.kinds for one in mine})
        places = describe(mine, self.copies)
        manifest = self._manifest(target, engine, step, state) if self._group.is_main else {}
        self.copies.end()
        return Save(step, target, states, places, manifest, begun)

    def _manifest(self, target: Path, engine: Engine, step: int, state: Mapping[str, Any]) -> dict[str, Any]:
        run_id = target.parents[1] / "wandb" / "run_id"
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
            "wandb_run_id": run_id.read_text(encoding="utf-8").strip() if run_id.exists() else None,
        }
