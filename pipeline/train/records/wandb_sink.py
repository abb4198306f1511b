"""wandb: one run across restarts, without gaps and without doubles.

`metrics.jsonl` is the truth. What wandb has of a run is told by the last training step that is there (a step is
wandb's own step too); a run that goes on gives it every record from there on. Offline, wandb loses up to half a minute
of records when the process is killed, so each process's file begins where the files before it break off.

Offline files reach the server by `gavt sync` (see `pipeline.train.run.sync`), which sends what the server lacks of
`metrics.jsonl`, as often as one likes. wandb's own `wandb sync RUN/wandb` sends the machine's figures too; it is exact
for a run that has ended or gone on since it was killed, as it sends a file that breaks off again each time.
"""

import inspect
import logging
import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cluster.importing import imports_at_once
from cluster.masking import holds_secrets
from cluster.storage.plain_errors import said_plainly
from cluster.wandb_errors import is_raised_by_wandb, wandb_problem
from cluster.wandb_mode import Mode, leave_inherited_service, resolve_mode
from pipeline.code_version import code_version
from pipeline.errors import RunError
from pipeline.tasks.contract import Metric
from pipeline.train.metric_names import MAP_METRICS, MAPS, BestSoFar
from pipeline.train.records.metrics_log import Record
from pipeline.train.records.wandb_address import (
    FOLDER,
    WandbAddress,
    address_of,
    original_of,
    read_address,
    read_id,
    write_address,
    write_id,
)
from pipeline.train.records.wandb_file import last_step_in_files, mark_sent, mend_files
from pipeline.train.run_settings import RunSettings

STEP = "step"
_log = logging.getLogger(__name__)
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


class WandbSink:
    """The wandb run of a run folder; its x axis is the training step.

    RUN/wandb/run_id             the wandb run's id, for all processes of the run
    RUN/wandb/address.json       where it is shown, and the folder that it is of (pipeline.train.records.wandb_address)
    RUN/wandb/[offline-]run-…/   wandb's own files, one folder a process

    Its summary has beside the last values the best so far, as `best/NAME`; wandb's own would begin again with each
    process.

    wandb's own process may end before this one: Slurm's signals reach all processes of a step, and it is ended by
    SIGTERM. That costs the run nothing but what wandb does not have yet, which it gets when the run goes on.

    Attributes:
        last_step: the last training step that wandb has; records up to it are not logged again.

    Args:
        metrics: what the run's task measures.
        catches_up: whether all that is done is to bring wandb up to date.
    """

    def __init__(
        self, wandb_run: Any, run: Path, last_step: int, metrics: Sequence[Metric], catches_up: bool = False
    ) -> None:
        self._wandb, self._run, self.last_step = wandb_run, run, last_step
        self._counts: dict[str, int] = {}
        self._best = BestSoFar(metrics)
        self._gone, self._catches_up = False, catches_up

    @staticmethod
    def open(
        settings: RunSettings,
        run: Path,
        home: str,
        tell: Callable[[str], None] = lambda sentence: None,
        catch_up: bool = False,
    ) -> "WandbSink | None":
        """Begin or go on with a run's wandb run; None where wandb is switched off.

        Args:
            run: local folder of the run.
            home: where the run lies for its user (path or URL).
            tell: told, in sentences, where the run is shown and what is other than one may think.
            catch_up: only bring the server up to date, whatever the mode, and say nothing of this machine.

        Raises:
            RunError: a new run can't be begun in wandb. One that goes on does so without, and says it.
            StorageError: nothing can be written to the run folder.
        """
        folder = run / "wandb"
        resolved = resolve_mode(settings.train.wandb.mode)
        if catch_up:
            resolved = "online"
        else:
            _part_from_original(folder, home, tell)
        if resolved == "disabled":
            return None
        _import_wandb()
        import wandb

        with said_plainly("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
            if not catch_up:  # else a file may be one that training writes now
                mend_files(folder)
        before, run_id = read_address(folder), read_id(folder)
        address = None
        leave_inherited_service()
        try:
            # silent, else it says where it found the key; offline it then imports nothing that sends figures of itself
            own = wandb.setup(wandb.Settings(silent=True, mode=resolved)).settings
            address = address_of(settings, own, before, tell)
            chosen_id = run_id or own.run_id or secrets.token_hex(4)
            wandb_run = _init(settings, address, chosen_id, run, resolved, catch_up, run_id is None)
        except Exception as error:
            if not is_raised_by_wandb(error):
                raise
            problem = _problem(error, address, catch_up)
            if catch_up:
                raise RunError(f"{home}: {problem}") from error
            if run_id is not None:
                tell(f"{problem}; the run goes on without wandb, gavt sync {home} gives it what it lacks")
                return None
            raise RunError(
                f"train.wandb.mode {resolved}: {problem}; train.wandb.mode=offline keeps its files in the run folder"
            ) from error
        if resolved == "online":
            address = replace(address, entity=wandb_run.entity or address.entity)
        if run_id is None and wandb_run.starting_step > 0:  # as WANDB_RUN_ID says
            wandb_run.finish()
            raise RunError(
                f"{home}: expected a wandb run of its own, found that {chosen_id} in {address.place} has records "
                "already; leave WANDB_RUN_ID unset, or give another one"
            )
        write_id(folder, chosen_id)
        write_address(folder, address, str(before.get(FOLDER, home)) if catch_up else home)
        tell(_where(resolved, address, chosen_id, home))
        if os.environ.get("WANDB_DIR"):
            tell(f"WANDB_DIR={os.environ['WANDB_DIR']} is not followed: wandb's files lie in the run folder")
        wandb_run.define_metric(STEP)
        wandb_run.define_metric("*", step_metric=STEP)
        if settings.task.label_aided is not None:
            wandb_run.summary["label_aided"] = settings.task.label_aided
        if resolved == "online":
            last_step = int(wandb_run.starting_step) - 1
            mark_sent(folder)  # the records in them come from metrics.jsonl now
        else:
            last_step = last_step_in_files(folder, chosen_id, STEP, exclude=Path(wandb_run.dir).parent)
        return WandbSink(wandb_run, run, last_step, (*settings.task.metrics, *MAP_METRICS), catch_up)

    def begin(self, records: Sequence[Record], events: Sequence[Mapping[str, Any]]) -> None:
        """Give wandb those of the run's records that it lacks, and the events of a process that could not."""
        for record in records:
            self._best.improve(record)
            self._log(record)
        self._note_best(self._best.values)
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
        self._log(record)
        self._note_best(self._best.improve(record))

    def _log(self, record: Record) -> None:
        if record[STEP] <= self.last_step:
            return
        self.last_step = record[STEP]
        shown = {name: value for name, value in record.items() if value is not None and name != "time"}
        shown["_timestamp"] = record["time"]
        if MAPS in record and (self._run / record[MAPS]).exists():
            import wandb

            shown[MAPS] = wandb.Image(str(self._run / record[MAPS]))
        self._do(lambda: self._wandb.log(shown, step=record[STEP], commit=True))

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
            self._do(lambda: self._wandb.finish(exit_code=int(failed)))
            self._do(wandb.teardown)  # offline, its files are whole only when its own process has ended
        except TimeoutError:
            raise RunError(f"{self._run}: wandb did not take all records in {_FINISH_S:.0f} s; try again") from None
        if self._gone:
            with suppress(OSError):
                wandb.teardown()  # else it is tried when this process ends, with a traceback

    def _do(self, act: Callable[[], object]) -> None:
        """Have wandb do something, as long as its own process is there."""
        if self._gone:
            return
        from wandb.sdk.mailbox import MailboxClosedError

        try:
            act()
        except TimeoutError:
            raise
        except (OSError, MailboxClosedError) as error:
            self._gone = True
            if self._catches_up:
                raise RunError(f"{self._run}: wandb's own process is gone ({error}); try again") from None
            _log.warning("wandb's own process is gone (%s); wandb gets what it lacks when the run goes on", error)

    def _note_best(self, values: Mapping[str, float]) -> None:
        if values:
            best = {f"best/{name}": value for name, value in values.items()}
            self._do(lambda: self._wandb.summary.update(best))

    def _count(self, event: Mapping[str, Any]) -> None:
        name = f"event/{event['event']}"
        self._counts[name] = self._counts.get(name, 0) + 1
        self._do(lambda: self._wandb.summary.update({name: self._counts[name]}))

    def _alert(self, event: Mapping[str, Any]) -> None:
        details = ", ".join(f"{name} {value}" for name, value in event.items() if name not in ("time", "event"))
        title = f"{self._run.name}: {event['event']}"
        self._do(lambda: self._wandb.alert(title, details, level="WARN", wait_duration=_QUIET_S))


def _import_wandb() -> None:
    """Import wandb, whose settings are classes of pydantic's with docstrings for their fields.

    For each of them pydantic asks of which modules the frames of the stack are. Of those of the import system inspect
    does not know it, and looks through all modules there are, each time: what it would have found it looks up here.
    """
    for name in ("_bootstrap", "_bootstrap_external"):
        inspect.modulesbyfile[os.path.abspath(f"<frozen importlib.{name}>")] = f"importlib.{name}"
    with imports_at_once():
        import wandb  # noqa: F401


def _init(
    settings: RunSettings, address: WandbAddress, run_id: str, run: Path, mode: Mode, catch_up: bool, first: bool
) -> Any:
    """wandb's own run.

    Raises:
        Exception: wandb can't be reached, or does not take it.
    """
    import wandb

    # inputs of jobs that wandb itself launches, for which every run would import two seconds of what launches them
    wandb.sdk.wandb_run.Run._detect_and_apply_job_inputs = lambda run: None
    return wandb.init(
        id=run_id,
        resume="allow" if mode == "online" else None,
        **asdict(address),
        dir=str(run),
        config=settings.model_dump(mode="json") | {"code": code_version()},
        mode=mode,
        settings=wandb.Settings(
            silent=True,
            console="off",
            finish_timeout=_FINISH_S,
            finish_timeout_raises=catch_up,
            x_file_stream_retry_max=_RETRIES,
            x_disable_stats=catch_up,
            x_save_requirements=first,  # the versions of hundreds of packages, a third of a second
            x_disable_meta=catch_up or holds_secrets(sys.argv),  # they hold the command line
        ),
    )


def _problem(error: Exception, address: WandbAddress | None, catch_up: bool) -> str:
    names = "train.wandb.entity and train.wandb.project name another place"
    if catch_up:
        names = "gavt sync RUN --entity ENTITY --project PROJECT sends it to another place"
    return wandb_problem(error, "the run" if address is None else address.place, names)


def _part_from_original(folder: Path, home: str, tell: Callable[[str], None]) -> None:
    """Give a copy of a run folder a wandb run of its own, else it would write into that of the original."""
    run_id = read_id(folder)
    if run_id is None or (original := original_of(home, run_id, read_address(folder))) is None:
        return
    with said_plainly("write", folder):
        mark_sent(folder)  # by the original
    new_id = secrets.token_hex(4)
    write_id(folder, new_id)
    write_address(folder, None, home)
    tell(f"this folder is a copy of {original}, which keeps the wandb run {run_id}; the copy gets its own, {new_id}")


def _where(mode: str, address: WandbAddress, run_id: str, home: str) -> str:
    sent = "" if mode == "online" else f"; gavt sync {home} sends it"
    return f"wandb {mode}: {address.place}, {address.name} ({run_id}){sent}"
