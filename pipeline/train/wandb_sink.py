"""wandb: one run across restarts, without gaps and without doubles.

`metrics.jsonl` is the truth. What wandb has of a run is told by the last training step that is there (a step is
wandb's own step too); a run that goes on gives it every record from there on. Offline, wandb loses up to half a minute
of records when the process is killed, so each process's file begins where the files before it break off.

Offline files reach the server by `gavt sync` (see `pipeline.train.sync`), which sends what the server lacks of
`metrics.jsonl`, as often as one likes. wandb's own `wandb sync RUN/wandb` sends the machine's figures too; it is exact
for a run that has ended or gone on since it was killed, as it sends a file that breaks off again each time.
"""

import logging
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.wandb_mode import resolve_mode
from pipeline.code_version import code_version
from pipeline.errors import RunError
from pipeline.settings.experiment import ExperimentSettings
from pipeline.train.metrics_log import Record
from pipeline.train.sinks import MAPS
from pipeline.train.wandb_file import mend, read_history

STEP = "step"
RUN_ID = "run_id"
_ALERTS = frozenset({"bad_step", "rollback", "hang", "rank_failed", "straggler", "stop", "failed"})
"""Events that somebody may want to be woken for, as far as they have wandb's alerts switched on."""
_FROM_OUTSIDE = frozenset({"hang", "rank_failed"})
"""Those that are written when no sink lives; the next process tells wandb."""
_QUIET_S = 300.0
"""wandb sends no second alert of the same title within this time."""
_FINISH_S = 300.0
"""How long the end of a run waits for a wandb that doesn't answer; what is missing stays to be synced."""
_RETRIES = 10_000
"""Attempts, up to a minute apart, before wandb sends nothing any more: a week. Its own default is two hours."""
_log = logging.getLogger(__name__)


class WandbSink:
    """The wandb run of a run folder; its x axis is the training step.

    RUN/wandb/run_id             the wandb run's id, for all processes of the run
    RUN/wandb/[offline-]run-…/   wandb's own files, one folder a process

    Attributes:
        last_step: the last training step that wandb has; records up to it are not logged again.
    """

    def __init__(self, wandb_run: Any, run: Path, last_step: int) -> None:
        self._wandb, self._run, self.last_step = wandb_run, run, last_step
        self._counts: dict[str, int] = {}

    @staticmethod
    def open(settings: ExperimentSettings, run: Path, catch_up: bool = False) -> "WandbSink | None":
        """Begin or go on with a run's wandb run; None where wandb is switched off.

        Args:
            catch_up: only bring the server up to date, whatever the mode, and say nothing of this machine.

        Raises:
            RunError: a new run can't reach wandb. One that goes on does so without, and the log says it.
        """
        chosen = settings.train.wandb
        resolved = resolve_mode(chosen.mode)
        if catch_up:
            resolved = "online"
        if resolved == "disabled":
            return None
        import wandb

        folder = run / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        id_file = folder / RUN_ID
        goes_on = id_file.exists()
        if not catch_up:  # else a file may be one that training writes now
            _mend_files(folder)
        wandb.setup(wandb.Settings(silent=True))  # else it says where it found the key
        run_id = id_file.read_text().strip() if goes_on else secrets.token_hex(4)
        try:
            wandb_run = wandb.init(
                id=run_id,
                resume="allow" if resolved == "online" else None,
                project=chosen.project,
                entity=chosen.entity,
                name=settings.name,
                dir=str(run),
                config=settings.model_dump(mode="json") | {"code": code_version()},
                mode=resolved,
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    finish_timeout=_FINISH_S,
                    finish_timeout_raises=catch_up,
                    x_file_stream_retry_max=_RETRIES,
                    x_disable_stats=catch_up,
                    x_disable_meta=catch_up,
                ),
            )
        except wandb.errors.Error as error:
            problem = f"wandb can't be reached ({' '.join(str(error).split())})"
            if catch_up:
                raise RunError(f"{run}: {problem}") from error
            if goes_on:
                _log.warning("%s; gavt sync %s gives it what it lacks", problem, run)
                return None
            raise RunError(
                f"train.wandb.mode {resolved}: {problem}; train.wandb.mode=offline keeps its files in the run folder"
            ) from error
        id_file.write_text(run_id)
        wandb_run.define_metric(STEP)
        wandb_run.define_metric("*", step_metric=STEP)
        if resolved == "online":
            last_step = int(wandb_run.starting_step) - 1
            for file in _files(folder):  # the records in it come from metrics.jsonl now
                file.with_name(file.name + ".synced").touch()
        else:
            last_step = _last_step_in_files(folder, exclude=Path(wandb_run.dir).parent)
        return WandbSink(wandb_run, run, last_step)

    def begin(self, records: Sequence[Record], events: Sequence[Mapping[str, Any]]) -> None:
        """Give wandb those of the run's records that it lacks, and the events of a process that could not."""
        for record in records:
            self.log(record)
        newest = 0
        for place, event in enumerate(events):
            if event["event"] in ("start", "resume"):
                newest = place
            self._count(event)
        for event in events[newest:]:
            if event["event"] in _FROM_OUTSIDE:
                self._alert(event)

    def log(self, record: Record) -> None:
        """Log a record, unless wandb has its step already."""
        if record[STEP] <= self.last_step:
            return
        self.last_step = record[STEP]
        shown = {name: value for name, value in record.items() if value is not None and name != "time"}
        shown["_timestamp"] = record["time"]
        if MAPS in record and (self._run / record[MAPS]).exists():
            import wandb

            shown[MAPS] = wandb.Image(str(self._run / record[MAPS]))
        self._wandb.log(shown, step=record[STEP], commit=True)

    def event(self, event: Mapping[str, Any]) -> None:
        """Count an event in the summary, which also has those after the last record; alert where it is a bad one."""
        self._count(event)
        if event["event"] in _ALERTS:
            self._alert(event)

    def finish(self, failed: bool = False) -> None:
        """Write out what is left.

        Args:
            failed: wandb is to show the run as failed.

        Raises:
            RunError: catching up took too long.
        """
        import wandb

        try:
            self._wandb.finish(exit_code=int(failed))
            wandb.teardown()  # offline, its files are whole only when its own process has ended
        except TimeoutError:
            raise RunError(f"{self._run}: wandb did not take all records in {_FINISH_S:.0f} s; try again") from None

    def _count(self, event: Mapping[str, Any]) -> None:
        name = f"event/{event['event']}"
        self._counts[name] = self._counts.get(name, 0) + 1
        self._wandb.summary[name] = self._counts[name]

    def _alert(self, event: Mapping[str, Any]) -> None:
        details = ", ".join(f"{name} {value}" for name, value in event.items() if name not in ("time", "event"))
        title = f"{self._run.name}: {event['event']}"
        self._wandb.alert(title, details, level="WARN", wait_duration=_QUIET_S)


def _mend_files(folder: Path) -> None:
    """Put right what killed processes left; folders without a record go."""
    for file in _files(folder):
        if not mend(file):
            shutil.rmtree(file.parent)


def _files(folder: Path) -> list[Path]:
    """wandb's file of each process of the run."""
    return [file for file in sorted(folder.glob("*run-*-*/*.wandb")) if not file.parent.is_symlink()]


def _last_step_in_files(folder: Path, exclude: Path) -> int:
    """The last training step in the files of earlier processes of this run; −1 where there is none."""
    last = -1
    for file in _files(folder):
        if file.parent != exclude:
            last = max([last, *(int(record[STEP]) for record in read_history(file) if STEP in record)])
    return last
