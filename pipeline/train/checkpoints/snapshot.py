"""What a checkpoint will hold, noted at a moment: DeepSpeed's states, averages, and the manifest."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from cluster.process_group import ProcessGroup
from pipeline.train.checkpoints.engine_files import TakenFiles
from pipeline.train.checkpoints.host_copy import HostCopy
from pipeline.train.checkpoints.layout import ENGINE, average_file, swapped_file
from pipeline.train.checkpoints.restore import counters
from pipeline.train.checkpoints.retention import remove
from pipeline.train.checkpoints.save import Save
from pipeline.train.checkpoints.saved_state import describe
from pipeline.train.engine.fragments import Fragment, fragments
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
        engine: Any,
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
        files = TakenFiles(self.copies, target)
        engine.checkpoint_engine = files
        engine.save_checkpoint(str(target), tag=ENGINE, save_latest=False)
        if averages is not None and (self._group.is_main or engine.zero_optimization()):
            files.save({"averages": list(averages)}, str(target / average_file(self._group.rank)))
        mine: Iterable[Fragment] = (one for one in fragments(engine, averages) if one.alone or self._group.is_main)
        if engine.zero_nvme_offload_optimizer():  # of which DeepSpeed's files only hold what was in memory
            mine = [replace(one, kinds={kind: piece.clone() for kind, piece in one.kinds.items()}) for one in mine]
            files.save({one.name: one.kinds for one in mine}, str(target / swapped_file(self._group.rank)))
        places = describe(mine, self.copies)
        manifest = self._manifest(target, engine, step, state) if self._group.is_main else {}
        self.copies.end()
        return Save(step, target, files.states, places, manifest, begun)

    def _manifest(self, target: Path, engine: Any, step: int, state: Mapping[str, Any]) -> dict[str, Any]:
        run_id = target.parents[1] / "wandb" / "run_id"
        train = self._settings.train
        return {
            "step": step,
            "time": round(time.time(), 3),
            "world_size": self._group.world_size,
            "zero_stage": train.zero_stage,
            "precision": train.precision,
            "engine": counters(engine),
            "state": dict(state),
            "settings": self._settings.model_dump(mode="json"),
            "versions": {name: version(name) for name in ("gavt", "torch", "deepspeed")},
            "wandb_run_id": run_id.read_text(encoding="utf-8").strip() if run_id.exists() else None,
        }
