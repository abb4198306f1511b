"""The training loop."""

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from cluster.job_environment import JobEnvironment
from cluster.process_group import ProcessGroup
from cluster.time_limit import end_time, time_is_up
from pipeline.errors import RunError, SettingsError, ShardSetError
from pipeline.tasks.task import Task
from pipeline.train.checkpoints import Checkpoint, go_on_from
from pipeline.train.checkpoints.saver import Saver
from pipeline.train.data import TrainingData, open_data
from pipeline.train.engine.build import check_machine, choose_kernels
from pipeline.train.engine.deepspeed_settings import micro_batch_of
from pipeline.train.engine.memory import memory_in_use
from pipeline.train.flops import Utilisation
from pipeline.train.health.bad_steps import BadSteps
from pipeline.train.health.rollback import order_to_go_back_to, order_to_go_on_from, write_rollback
from pipeline.train.health.step_flags import StepSums
from pipeline.train.health.stragglers import Stragglers
from pipeline.train.health.watchdog import Watchdog
from pipeline.train.interval import Interval
from pipeline.train.maps import MakeMaps, Maps
from pipeline.train.profile import ProfileRequest, StepProfiler
from pipeline.train.records.metrics_log import Record
from pipeline.train.records.run_log import RunLog
from pipeline.train.records.wandb_address import read_id
from pipeline.train.run.remote_logs import LOGS, log_name
from pipeline.train.run.remote_run import RunPlace, run_place
from pipeline.train.run.resume_changes import changes_since
from pipeline.train.run.run_clock import RunClock, TimeSpent
from pipeline.train.run.run_folder import log_to, settings_before, write_config
from pipeline.train.run.stop_signals import StopSignals, stop_signals
from pipeline.train.run_settings import RunSettings
from pipeline.train.schedule import learning_rate_at
from pipeline.train.start_from import find_source, write_table
from pipeline.train.step import Stepper, StopRequest
from pipeline.train.system import system_without_memory
from pipeline.train.training_state import TrainingState
from pipeline.train.validate import check_validation, validate


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        step: steps done.
        stopped_by: what stopped it early: a signal's name, or `time limit`; or none.
        last: its last record.
    """

    step: int
    stopped_by: str | None
    last: Record


def train(
    settings: RunSettings,
    run: str,
    group: ProcessGroup,
    on_record: Callable[[Record], None],
    profile: ProfileRequest | None = None,
    signals: StopSignals | None = None,
    on_event: Callable[[dict[str, Any]], None] = lambda event: None,
    make_maps: MakeMaps | None = None,
) -> TrainResult:
    """Train, or go on training, in the run folder `run` (path or URL); every process of the job calls it.

    Args:
        on_record: called on the main process with each step's numbers, for the live line.
        profile: steps whose operations are recorded.
        signals: noted by the caller; else they are noted as long as this lasts.
        on_event: called on the main process with each event of the run (see `events.jsonl`).
        make_maps: makes what judges and draws the maps that the settings ask for; without it none are.

    Raises:
        InUseError: another job trains in the run folder.
        RunError: the run has other settings, the loss is no longer a number, or nothing can be learnt from the data.
        SettingsError: batch, processes and the task's group don't fit together, or the data named can't be used.
        ShardSetError: the training data is missing or damaged.
    """
    clock = RunClock()
    with ExitStack() as stack:
        if signals is None:
            signals = stack.enter_context(stop_signals())
        micro_batch = group.on_main(lambda: _checked_micro_batch(settings, group))
        task = system_without_memory(settings).task  # for what it does on the host
        check_machine(settings.train, group)
        choose_kernels(settings.train, group.device.type == "cuda")
        place = stack.enter_context(run_place(run, group))
        folder = place.folder
        before = group.on_main(lambda: settings_before(folder, place.checkpoints, settings))
        log, hang_s = folder / LOGS / log_name(group.rank), settings.train.health.hang_s
        with log_to(log), Watchdog(folder, group, hang_s, place.remote, place.publish) as watchdog:

            def open_all(checkpoint: Checkpoint | None) -> _Opened:
                done = 0 if checkpoint is None else checkpoint.step
                source = group.on_main(lambda: find_source(settings.train.start_from)) if checkpoint is None else None
                group.on_main(lambda: write_config(folder, settings, before, done))
                with ExitStack() as opening:
                    said = partial(watchdog.beat, "opening the data", done)
                    data = opening.enter_context(open_data(settings, micro_batch, group, checkpoint, on_progress=said))
                    group.on_main(partial(check_validation, data.validation, task, settings))
                    trained = TrainingState(settings, micro_batch, group, checkpoint, source)
                    return _Opened(checkpoint, data, trained, opening.pop_all())

            order = order_to_go_on_from(folder, group)
            opened = go_on_from(place.checkpoints, open_all, group, order) or open_all(None)
            with opened.stack:
                run_log = RunLog(settings, folder, group.is_main, place.remote)
                run_log.on_event = on_event
                maps = make_maps(folder, group) if make_maps and opened.data.validation is not None else None
                training = _Training(
                    settings,
                    place,
                    group,
                    micro_batch,
                    opened,
                    on_record,
                    watchdog,
                    clock,
                    run_log,
                    maps,
                    task,
                )
                with run_log, training.saver:
                    return training.go(signals, StepProfiler(folder, group, profile, settings.train.steps))


@dataclass(frozen=True)
class _Opened:
    """What a run begins or goes on with: the checkpoint, if any, data from there on, and what is trained.

    Attributes:
        stack: closes the data.
    """

    checkpoint: Checkpoint | None
    data: TrainingData
    training: TrainingState
    stack: ExitStack


def _checked_micro_batch(settings: RunSettings, group: ProcessGroup) -> int:
    if settings.data.train is None:
        raise SettingsError("data.train: expected a shard set to train on, found none")
    system_without_memory(settings)  # which says whether all names fit
    return micro_batch_of(settings.train, group.world_size, settings.task)


class _Training:
    """One process's part of a run."""

    def __init__(
        self,
        settings: RunSettings,
        place: RunPlace,
        group: ProcessGroup,
        micro_batch: int,
        opened: _Opened,
        on_record: Callable[[Record], None],
        watchdog: Watchdog,
        clock: RunClock,
        log: RunLog,
        maps: Maps | None,
        task: Task,
    ) -> None:
        self.settings, self.place, self.group, self.micro_batch = settings, place, group, micro_batch
        self.data, self.checkpoint, self.training = opened.data, opened.checkpoint, opened.training
        self.on_record, self.watchdog, self.clock, self.log = on_record, watchdog, clock, log
        self.saver = Saver(place.checkpoints, group, settings, place.publish)
        self.run, self.interval = place.folder, Interval()
        self.bad = BadSteps(settings.train.health)
        self.task, self.data_watch = task, task.data_watch()
        self.stragglers = Stragglers(settings.train.health.straggler_factor)
        self.utilisation = Utilisation(settings, group)
        self.maps = maps
        self.judges_maps: bool | None = None

    def go(self, signals: StopSignals, profiler: StepProfiler) -> TrainResult:
        settings, group = self.settings.train, self.group
        step = self._resume()
        batches = self.data.batches(settings.steps - step, self.task)
        stepper = Stepper(self.settings, self.micro_batch, group, batches, self.watchdog)
        leave_at = end_time(settings.time_limit_s, JobEnvironment.of_this_process())
        stopped_by = self._stopped_meanwhile(signals)
        while step < settings.steps and stopped_by is None:
            profiler.before(step)
            asked = StopRequest(signals.received, time_is_up(leave_at), self.place.is_lost)
            sums = self._step(stepper, step, asked)
            step += 1
            if sums.lost:
                group.on_main(self.place.check_held)
            if self.bad.must_go_back:
                self._go_back(step)
            if step < settings.steps:
                stopped_by = sums.stopped_by
            no_data = not sums.has_data and step < settings.steps and stopped_by is None
            fault = self.data.fault
            # weights that may be beyond help are worth no save of their own
            self._after(step, leaves=stopped_by is not None or no_data or (fault is not None and not self.bad.in_row))
            if no_data or fault is not None:
                self.saver.finish()
                self._note_saved()
                if fault is not None:
                    raise RunError(fault)
                batches.fail()
        profiler.before(settings.steps)
        self.watchdog.beat("end", step)
        self.saver.finish()
        self._note_saved()
        self.log.event("stop" if stopped_by else "end", step=step, **({"reason": stopped_by} if stopped_by else {}))
        self.log.finish()
        return TrainResult(step, stopped_by, self.log.last)

    def _stopped_meanwhile(self, signals: StopSignals) -> str | None:
        """Name of the signal that some process got while all was built: then there is nothing to save."""
        received = max(self.group.gather_objects(int(signals.received)))
        signals.started.set()
        return signal.Signals(received).name if received else None

    def _step(self, stepper: Stepper, step: int, request: StopRequest) -> StepSums:
        """Do step `step` and judge it."""
        settings, started = self.settings.train, time.perf_counter()
        waited, stalled = self.data.waited_s, self.saver.stalled_s
        sums = stepper.run(self.training.engine, step, request, self.bad.spike_above)
        reason = self.bad.judge(sums, self.training.engine.searches_scale)
        if reason is not None:
            samples = sorted(sample for shown in self.group.gather_objects(stepper.suspects()) for sample in shown)
            self.log.event("bad_step", step=step + 1, reason=reason, in_row=self.bad.in_row, samples=samples)
        self.data.count(settings.batch_size, int(sums.replaced))
        whole = self.checkpoint is None and step + 1 == settings.steps
        said = None if self.data_watch is None else self.data_watch.add(sums.totals, settings.batch_size, whole)
        if said is not None:
            self.log.event("warning", step=step + 1, reason=said)
        if sums.applied:
            self.training.count_applied()
        seconds, waited_s = time.perf_counter() - started, self.data.waited_s - waited
        stalled_s = self.saver.stalled_s - stalled  # the optimiser waited for the copies of a save
        self.interval.add(sums, settings.batch_size, seconds, waited_s, stalled_s)
        self.stragglers.add(sums.own_s)
        self.clock.add_step(seconds, waited_s, stalled_s, sums.applied)
        return sums

    def _go_back(self, step: int) -> None:
        """Go on after `step` steps with the weights of the newest checkpoint from before the bad ones."""
        self.watchdog.beat("rollback", step)
        self.saver.finish()
        reason = self.bad.go_back(step, self.run)

        def go_back_to(checkpoint: Checkpoint) -> Checkpoint:
            self.clock.spent = TimeSpent.of(checkpoint.manifest["state"])
            self.group.on_main(partial(write_rollback, self.run, checkpoint, step, self._state()))
            self.group.on_main(self.place.publish)
            self.training.go_back(checkpoint)
            return checkpoint

        found = go_on_from(self.place.checkpoints, go_back_to, self.group, order_to_go_back_to)
        if found is None:
            raise RunError(f"{self.run}: {reason}; there is no checkpoint to go back to; lower train.learning_rate")
        self.log.event("rollback", step=step, checkpoint=found.step, reason=reason)
        self._note_average(step)

    def _after(self, step: int, leaves: bool) -> None:
        """Records, validation and checkpoints that are due after `step` steps; where it leaves, a checkpoint is."""
        settings, stalled = self.settings.train, self.saver.stalled_s
        self.saver.let_change()  # a step that was left out has not waited
        self._count_saving(self.saver.stalled_s - stalled)
        record: Record = {}
        last = step == settings.steps
        if step % settings.log_every == 0 or last:
            record = self._record(step)
            if self.stragglers.slow_for_long:
                self.log.event("straggler", step=step, rank=record["slowest_rank"], excess=record["slowest_excess"])
        if self.data.validation is not None and (step % settings.validate_every == 0 or last):
            self.watchdog.beat("validation", step)
            with self.clock.validating(), self.training.averaged():
                found = validate(
                    self.training.engine, self.data.validation, self.settings, self.group, self.micro_batch
                )
            record |= {"step": step} | found
        if self.maps is not None:
            with self.clock.validating():
                record |= self._look_at_maps(self.maps, step)
        if record and self.group.is_main:
            self.on_record(self.log.record(record))
        # weights that may be beyond help are no way back
        due = step % settings.checkpoint_every == 0 and not self.bad.in_row
        if due or last or leaves:
            self.watchdog.beat("checkpoint", step)
            self.group.on_main(self.place.check_held)  # since validation takes as long as it likes
            started = time.perf_counter()
            self.log.sync()
            self.training.save(self.saver, step, self._state())
            self._count_saving(time.perf_counter() - started)
        self._note_saved()

    def _count_saving(self, seconds: float) -> None:
        self.interval.checkpoint_s += seconds
        self.clock.spent.saving_s += seconds

    def _look_at_maps(self, maps: Maps, step: int) -> Record:
        """Judge and draw maps where that is due after `step` steps."""
        settings, last = self.settings.train, step == self.settings.train.steps
        judged_every = settings.validate_every * (settings.maps_judged_every or 0)
        judges = bool(judged_every) and (last or step % judged_every == 0) and self._can_judge(maps, step)
        draws = settings.maps_every is not None and (last or step % settings.maps_every == 0)
        if not judges and not draws:
            return {}
        self.watchdog.beat("maps", step)
        with self.training.averaged():
            weights = self.training.engine.full_weights()
        record = self.group.on_main(partial(maps.judge, weights, step)) if judges else {}
        return record | (self.group.on_main(partial(maps.draw, weights, step)) if draws else {})

    def _can_judge(self, maps: Maps, step: int) -> bool:
        """Whether maps can be judged, found out once."""
        if self.judges_maps is None:
            try:
                self.judges_maps = self.group.on_main(maps.can_judge)
            except ShardSetError as error:  # a damaged sample stops no training
                self.judges_maps = False
                self.log.event("warning", step=step, reason=f"maps are not judged: {error}")
        return self.judges_maps

    def _state(self) -> dict[str, Any]:
        """What the loop must remember, as JSON."""
        return {
            "interval": asdict(self.interval),
            "cursor": self.data.cursor(),
            **self.clock.state(),
            "bad_steps": self.bad.state(),
            "wandb_run_id": read_id(self.run / "wandb"),
        }

    def _record(self, step: int) -> Record:
        interval, self.interval = self.interval, Interval()
        record = interval.record(self.settings.task)
        return {
            "step": step,
            **record,
            "learning_rate": learning_rate_at(step - 1, self.settings.train),
            **self.training.record(),
            "samples": step * self.settings.train.batch_size,
            "epoch": self.data.position / len(self.data.plan),
            "goodput": round(self.clock.goodput(), 4),
            **self.stragglers.record(),
            **self.utilisation.of(record["samples_per_s"]),
            **memory_in_use(self.group.device),
        }

    def _resume(self) -> int:
        """Remember what the loop knew at the checkpoint, rewind the metrics to it, and say at which step to go on."""
        checkpoint, step = self.checkpoint, 0
        if checkpoint is not None:
            state = checkpoint.manifest["state"]
            self.interval = Interval(**state["interval"])
            self.bad = BadSteps(self.settings.train.health, **state["bad_steps"])
            step = checkpoint.step
        self.group.on_main(lambda: self.log.begin(step))
        changed, change = changes_since(checkpoint, self.settings, self.group.world_size)
        words = {"world_size": self.group.world_size} | ({"changed": changed} if changed else {})
        clock_said = self.clock.resume(None if checkpoint is None else checkpoint.manifest, self.log.started)
        self.log.event("resume" if step else "start", step=step, startup_s=round(self.clock.own_s, 3), **words)
        if clock_said is not None:
            self.log.event("clock", step=step, said=clock_said)
        if self.training.started is not None:
            self.group.on_main(partial(write_table, self.run, self.training.started))
            self.log.event("start_from", step=step, said=self.training.started.said())
        for said in self.log.notes:
            self.log.event("wandb", step=step, said=said)
        if change is not None:
            self.log.event("micro_batch", step=step, change=change)
        for change in self.data.changes:
            self.log.event("data", step=step, change=change)
        self._note_average(step)
        return step

    def _note_average(self, step: int) -> None:
        if self.training.average_change is not None:
            self.log.event("average", step=step, change=self.training.average_change)

    def _note_saved(self) -> None:
        for saved in self.saver.whole():
            self.log.event("checkpoint", **saved.told(), **TimeSpent.of(saved.state).told())
