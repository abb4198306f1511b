"""The training loop."""

import math
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cluster.process_group import ProcessGroup
from cluster.time_limit import end_time, time_is_up
from pipeline.errors import RunError, SettingsError
from pipeline.models.build import build_on
from pipeline.models.gavt import Gavt
from pipeline.models.pretrained import load_pretrained
from pipeline.models.recompute import set_checkpointing
from pipeline.settings.experiment import ExperimentSettings
from pipeline.tasks.mma import TaskModel
from pipeline.train.checkpoints import Checkpoint, newest_checkpoint
from pipeline.train.checkpoints.restore import changes, load_engine
from pipeline.train.checkpoints.saver import Saver
from pipeline.train.data import TrainingData, open_data
from pipeline.train.ema import Ema
from pipeline.train.engine import build_engine, full_weights, micro_batch_of
from pipeline.train.feed import Feed
from pipeline.train.health.bad_steps import BadSteps
from pipeline.train.health.rollback import as_rolled_back, write_rollback
from pipeline.train.health.step_flags import StepSums
from pipeline.train.health.stragglers import Stragglers
from pipeline.train.health.watchdog import Watchdog
from pipeline.train.interval import Interval
from pipeline.train.map_grid import MapGrid
from pipeline.train.memory import memory_in_use
from pipeline.train.metrics_log import Record
from pipeline.train.profile import ProfileRequest, StepProfiler
from pipeline.train.remote_run import run_place
from pipeline.train.run_clock import RunClock
from pipeline.train.run_folder import log_to, write_or_check_config
from pipeline.train.run_log import RunLog
from pipeline.train.schedule import learning_rate_at
from pipeline.train.step import Asked, Stepper
from pipeline.train.stop_signals import StopSignals, stop_signals
from pipeline.train.utilisation import Utilisation
from pipeline.train.validate import validate


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
    settings: ExperimentSettings,
    run: str,
    group: ProcessGroup,
    on_record: Callable[[Record], None],
    profile: ProfileRequest | None = None,
) -> TrainResult:
    """Train, or go on training, in the run folder `run` (path or URL); every process of the job calls it.

    Args:
        on_record: called on the main process with each step's numbers, for the live line.
        profile: steps whose operations are recorded.

    Raises:
        RunError: the run folder is in use or has other settings, or the loss is no longer a number.
        SettingsError: batch, processes and pairing group don't fit together, or no training data is named.
        ShardSetError: the training data is missing or damaged.
    """
    if settings.data.train is None:
        raise SettingsError("data.train: expected a shard set to train on, found none")
    micro_batch = micro_batch_of(settings.train, group.world_size, settings.task.group)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # nothing reads uninitialised memory, and filling it takes long
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    with run_place(run, group, settings.train) as (folder, publish), stop_signals() as signals:
        if group.is_main:
            write_or_check_config(folder, settings)
        log_to(folder / "logs" / f"rank-{group.rank:05d}.log")
        with Watchdog(folder, group, settings.train.health.hang_s) as watchdog:
            checkpoint = group.from_main(_newest(folder) if group.is_main else None)
            with open_data(settings, micro_batch, group, checkpoint) as data:
                training = _Training(
                    settings, folder, group, micro_batch, data, checkpoint, on_record, publish, watchdog
                )
                with training.saver:
                    return training.go(signals, StepProfiler(folder, group, profile, settings.train.steps))


class _Training:
    """One process's part of a run."""

    def __init__(
        self,
        settings: ExperimentSettings,
        run: Path,
        group: ProcessGroup,
        micro_batch: int,
        data: TrainingData,
        checkpoint: Checkpoint | None,
        on_record: Callable[[Record], None],
        publish: Callable[[], None],
        watchdog: Watchdog,
    ) -> None:
        self.settings, self.run, self.group, self.micro_batch = settings, run, group, micro_batch
        self.data, self.checkpoint = data, checkpoint
        self.on_record, self.publish, self.watchdog = on_record, publish, watchdog
        self.log = RunLog(settings, run, group.is_main)
        self.saver = Saver(run / "checkpoints", group, settings, publish)
        self.interval = Interval()
        self.bad = BadSteps(settings.train.health)
        self.stragglers = Stragglers(settings.train.health.straggler_factor)
        self.clock = RunClock(time.time())
        self.utilisation = Utilisation(settings, group)
        self.maps = MapGrid(settings, run, group) if settings.train.maps_every else None

    def go(self, signals: StopSignals, profiler: StepProfiler) -> TrainResult:
        settings, group = self.settings.train, self.group
        self.engine = self._build()
        step = self._resume()
        feed = Feed(self.data.batches(settings.steps - step))
        stepper = Stepper(self.settings, self.micro_batch, group, feed, self.watchdog)
        leave_at, stopped_by = end_time(settings.time_limit_s), None
        while step < settings.steps and stopped_by is None:
            profiler.before(step)
            sums = self._step(stepper, step, Asked(signals.received, time_is_up(leave_at)))
            step += 1
            if self.bad.must_go_back:
                self._go_back(step)
            if step < settings.steps:
                stopped_by = _stopped_by(sums)
            self._after(step, stopped=stopped_by is not None)
            if not sums.has_data and step < settings.steps and stopped_by is None:
                feed.fail()
        profiler.before(settings.steps)
        self.watchdog.beat("end", step)
        self.saver.finish()
        self._note_saved()
        self._note("stop" if stopped_by else "end", step=step, **({"reason": stopped_by} if stopped_by else {}))
        self.log.finish()
        if group.is_main:
            self.publish()
        group.barrier()
        return TrainResult(step, stopped_by, self.log.last)

    def _step(self, stepper: Stepper, step: int, asked: Asked) -> StepSums:
        """Do step `step` and judge it."""
        settings, started, waited = self.settings.train, time.perf_counter(), self.data.waited_s
        sums = stepper.run(self.engine, step, asked, self.bad.spike_above)
        reason = self.bad.judge(sums, scaling=settings.precision == "fp16")
        if reason is not None:
            samples = sorted(sample for shown in self.group.gather_objects(stepper.suspects()) for sample in shown)
            self._note("bad_step", step=step + 1, reason=reason, in_row=self.bad.in_row, samples=samples)
        self.data.count(settings.batch_size, int(sums.replaced))
        seconds, waited_s = time.perf_counter() - started, self.data.waited_s - waited
        self.interval.add(sums, settings.batch_size, seconds, waited_s)
        self.stragglers.add(sums.own_s)
        if sums.applied:
            self.clock.add(seconds - waited_s)
            if self.ema is not None:
                self.ema.update(self.engine)
        return sums

    def _go_back(self, step: int) -> None:
        """Go on after `step` steps with the weights of the newest checkpoint."""
        self.watchdog.beat("rollback", step)
        self.saver.finish()
        checkpoint = self.group.from_main(newest_checkpoint(self.run / "checkpoints") if self.group.is_main else None)
        rows, limits = self.bad.in_row, self.bad.settings
        bad = f"{self.bad.reason} at step {step}, and {rows} steps in a row were bad"
        if checkpoint is None:
            raise RunError(f"{self.run}: {bad}; there is no checkpoint to go back to; lower train.learning_rate")
        if not self.bad.goes_back(step):
            again = f"more than {limits.rollbacks} rollbacks in {limits.rollback_steps} steps don't help"
            raise RunError(f"{self.run}: {bad}; {again}; lower train.learning_rate, or see the bad_step events")
        self.clock.useful_s = checkpoint.manifest["state"]["useful_s"]
        if self.group.is_main:
            write_rollback(self.run, checkpoint, step, self._state())
            self.publish()
        self._note("rollback", step=step, checkpoint=checkpoint.step, reason=bad)
        self.engine.destroy()
        self.engine = self._build()  # under ZeRO-3 an engine that has saved can't load
        load_engine(checkpoint, self.engine, self._averages())
        self.engine.train()

    def _after(self, step: int, stopped: bool) -> None:
        """Records, validation and checkpoints that are due after `step` steps."""
        settings = self.settings.train
        record: Record = {}
        last = step == settings.steps
        if step % settings.log_every == 0 or last:
            record = self._record(step)
            if self.stragglers.slow_for_long:
                self._note("straggler", step=step, rank=record["slowest_rank"], excess=record["slowest_excess"])
        if self.data.validation is not None and (step % settings.validate_every == 0 or last):
            self.watchdog.beat("validation", step)
            with self._averaged():
                found = validate(self.engine, self.data.validation, self.settings, self.group, self.micro_batch)
            record |= {"step": step} | found
        if self.maps is not None and self.maps.is_due(step):
            with self._averaged():
                weights = full_weights(self.engine)
            record |= self.maps.draw(weights, step)
        if record and self.group.is_main:
            self.on_record(self.log.record(record))
        # weights that may be beyond help are no way back
        due = step % settings.checkpoint_every == 0 and not self.bad.in_row
        if due or last or stopped:
            self.watchdog.beat("checkpoint", step)
            started = time.perf_counter()
            self.log.sync()
            self.saver.save(self.engine, step, self._state(), self._averages())
            self.interval.checkpoint_s += time.perf_counter() - started
        self._note_saved()

    def _state(self) -> dict[str, Any]:
        """What the loop must remember, as JSON."""
        return {
            "interval": asdict(self.interval),
            "cursor": self.data.cursor(),
            "useful_s": self.clock.useful_s,
            "bad_steps": self.bad.state(),
        }

    def _record(self, step: int) -> Record:
        interval, self.interval = self.interval, Interval()
        norm = self.engine.get_global_grad_norm()
        samples_per_s = interval.samples / interval.seconds
        return {
            "step": step,
            "loss": interval.loss / interval.pairs if interval.pairs else None,
            "accuracy": interval.correct / interval.pairs if interval.pairs else None,
            "learning_rate": learning_rate_at(step - 1, self.settings.train),
            "grad_norm": float(norm) if norm is not None and math.isfinite(norm) else None,
            "samples": step * self.settings.train.batch_size,
            "epoch": self.data.position / len(self.data.plan),
            "samples_per_s": round(samples_per_s, 2),
            "data_wait": round(interval.waited_s / interval.seconds, 4),
            "checkpoint_s": round(interval.checkpoint_s, 3),
            "goodput": round(self.clock.goodput(), 4),
            "replaced_samples": interval.replaced,
            "skipped_steps": interval.skipped,
            **self.stragglers.record(),
            **self.utilisation.of(samples_per_s),
            **memory_in_use(self.group.device),
        }

    def _build(self) -> Any:
        settings = self.settings
        model = build_on(self.group.device, settings.seed, lambda: TaskModel(Gavt(settings.model, settings.features)))
        assert isinstance(model, TaskModel)
        set_checkpointing(model, settings.train.activation_checkpointing)
        if self.checkpoint is None:
            load_pretrained(model)
        engine = build_engine(model, settings.train, self.micro_batch, self.group)
        decay = settings.train.ema_decay
        self.ema = None if decay is None else Ema(engine, decay)
        return engine

    def _averaged(self) -> AbstractContextManager[None]:
        """Where the model computes with the average of the weights, if there is one."""
        return nullcontext() if self.ema is None else self.ema.in_place(self.engine)

    def _averages(self) -> list[torch.Tensor] | None:
        return None if self.ema is None else self.ema.average

    def _resume(self) -> int:
        """Load the newest whole checkpoint, rewind the metrics to it, and say at which step to go on."""
        checkpoint, step = self.checkpoint, 0
        if checkpoint is not None:
            load_engine(checkpoint, self.engine, self._averages())
            state = checkpoint.manifest["state"]
            self.interval = Interval(**state["interval"])
            self.clock.useful_s = state["useful_s"]
            self.bad = BadSteps(self.settings.train.health, **state["bad_steps"])
            step = checkpoint.step
        self.engine.train()
        self.log.begin(step)
        changed = {} if checkpoint is None else changes(checkpoint, self.settings, self.group.world_size)
        words = {"world_size": self.group.world_size} | ({"changed": changed} if changed else {})
        self._note("resume" if step else "start", step=step, **words)
        self.clock.started = self.log.started or self.clock.started
        for change in self.data.changes:
            self._note("data", step=step, change=change)
        return step

    def _note_saved(self) -> None:
        for saved in self.saver.whole():
            seconds, stalled_s = round(saved.seconds, 3), round(saved.stalled_s, 3)
            self._note("checkpoint", step=saved.step, seconds=seconds, stalled_s=stalled_s, bytes=saved.bytes)

    def _note(self, event: str, **details: Any) -> None:
        self.log.event(event, **details)


def _newest(run: Path) -> Checkpoint | None:
    """The newest whole checkpoint of a run, as the run goes on from it."""
    return as_rolled_back(run, newest_checkpoint(run / "checkpoints"))


def _stopped_by(sums: StepSums) -> str | None:
    if sums.stop:
        return signal.Signals(sums.stop).name
    return "time limit" if sums.time_up else None
