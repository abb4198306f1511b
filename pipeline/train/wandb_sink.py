"""wandb: one run across restarts, without gaps and without doubles.

`metrics.jsonl` is the truth. wandb offline loses up to half a minute of records when the process is killed, so a
restarted run looks up which step wandb has last and gives it everything from there on.
"""

import secrets
from pathlib import Path
from typing import Any

from cluster.wandb_mode import resolve_mode
from pipeline.errors import RunError
from pipeline.train.metrics_log import Record
from pipeline.train.settings import WandbSettings
from pipeline.train.wandb_file import read_history

STEP = "step"


class WandbSink:
    """The wandb run of a run folder; its x axis is the training step.

    Attributes:
        last_step: offline, the last step that wandb's files have; records up to it are not logged again.

    Raises:
        RunError: wandb can't be reached.
    """

    def __init__(self, settings: WandbSettings, folder: Path, name: str, config: dict[str, Any]) -> None:
        self._run: Any = None
        self.last_step = -1
        self._lines_there = 0
        self.mode = resolve_mode(settings.mode)
        if self.mode == "disabled":
            return
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        id_file = folder / "run_id"
        if not id_file.exists():
            id_file.write_text(secrets.token_hex(4))
        try:
            self._run = wandb.init(
                id=id_file.read_text().strip(),
                resume="allow" if self.mode == "online" else None,
                project=settings.project,
                entity=settings.entity,
                name=name,
                dir=str(folder.parent),
                config=config,
                mode=self.mode,
                settings=wandb.Settings(silent=True, console="off"),
            )
        except wandb.errors.Error as error:
            raise RunError(
                f"train.wandb.mode {self.mode}: wandb can't be reached ({' '.join(str(error).split())}); "
                f"train.wandb.mode=offline keeps its files in the run folder"
            ) from error
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)
        if self.mode == "online":  # the server has one line a record, and records come in the same order again
            self._lines_there = int(self._run.starting_step)
        else:
            self.last_step = _last_offline_step(folder, exclude=Path(self._run.dir).parent)

    def fill(self, records: list[Record]) -> None:
        """Give wandb those of the run's records that it lost."""
        for record in records:
            self.log(record)

    def log(self, record: Record) -> None:
        """Log a record, unless wandb has its step already."""
        if self._run is None or record[STEP] <= self.last_step:
            return
        if self._lines_there > 0:
            self._lines_there -= 1
            return
        self._run.log(record)

    def finish(self) -> None:
        """Write out what is left."""
        if self._run is not None:
            self._run.finish()


def _last_offline_step(folder: Path, exclude: Path) -> int:
    """The last training step in the offline files of earlier processes of this run."""
    last = -1
    for file in folder.glob("offline-run-*/*.wandb"):
        if file.parent != exclude:
            last = max([last, *(int(record[STEP]) for record in read_history(file) if STEP in record)])
    return last
