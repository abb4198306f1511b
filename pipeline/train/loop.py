"""The training loop."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cluster.process_group import ProcessGroup
from pipeline.errors import RunError, SettingsError
from pipeline.models.build import build_on
from pipeline.models.gavt import Gavt
from pipeline.settings.experiment import ExperimentSettings
from pipeline.tasks.mma import TaskModel
from pipeline.train.checkpoints import Checkpoint, load_engine, newest_checkpoint, save_checkpoint
from pipeline.train.data import TrainingData, open_data
from pipeline.train.engine import build_engine, micro_batch_of
from pipeline.train.interval import Interval
from pipeline.train.memory import memory_in_use
from pipeline.train.metrics_log import Record
from pipeline.train.remote_run import run_place
from pipeline.train.run_clock import RunClock
from pipeline.train.run_folder import log_to, write_or_check_config
from pipeline.train.run_log import RunLog
from pipeline.train.schedule import learning_rate_at
from pipeline.train.step import run_step
from pipeline.train.stop_signals import StopSignals, stop_signals
from pipeline.train.utilisation import Utilisation
from pipeline.train.validate import validate


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        step: steps done.
        stopped_by: the signal that stopped it early, or none.
        last: its last record.
    """

    step: int
    stopped_by: int | None
    last: Record


def train(
    settings: ExperimentSettings, run: str, group: ProcessGroup, on_record: Callable[[Record], None]
) -> TrainResult:
    """Train, or go on training, in the run folder `run` (path or URL); every process of the job calls it.

    Args:
        on_record: called on the main process with each step's numbers, for the live line.

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
    with run_place(run, group) as (folder, publish), stop_signals() as signals:
        if group.is_main:
            write_or_check_config(folder, settings)
        log_to(folder / "logs" / f"rank-{group.rank:05d}.log")
        checkpoint = group.from_main(newest_checkpoint(folder / "checkpoints") if group.is_main else None)
        with open_data(settings, micro_batch, group, checkpoint) as data:
            return _Training(settings, folder, group, micro_batch, data, checkpoint, on_record, publish).go(signals)


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
    ) -> None:
        self.settings, self.run, self.group, self.micro_batch = settings, run, group, micro_batch
        self.data, self.checkpoint = data, checkpoint
        self.on_record, self.publish = on_record, publish
        self.log = RunLog(settings, run, group.is_main)
        self.interval = Interval()
        self.clock = RunClock(time.time())
        self.utilisation = Utilisation(settings, group)

    def go(self, signals: StopSignals) -> TrainResult:
        settings, group = self.settings.train, self.group
        self.engine = self._build()
        step = self._resume()
        batches = self.data.batches(settings.steps - step)
        stopped_by = None
        while step < settings.steps and stopped_by is None:
            stopped_by = self._step(step, batches, signals)
            step += 1
            self._after(step, stopped=stopped_by is not None)
        self._note("stop" if stopped_by else "end", step=step)
        self.log.finish()
        if group.is_main:
            self.publish()
        group.barrier()
        return TrainResult(step, stopped_by, self.log.last)

    def _step(self, step: int, batches: Iterator[Any], signals: StopSignals) -> int | None:
        """Do step `step`; the signal that asks some process to stop, if any."""
        settings, started, waited = self.settings.train, time.perf_counter(), self.data.waited_s
        sums = run_step(
            self.engine, batches, step, self.settings, self.micro_batch, self.group, signals.received is not None
        )
        if not math.isfinite(sums.loss) and settings.precision != "fp16":  # fp16's loss scaling skips it itself
            raise RunError(f"{self.run}: the loss of step {step + 1} is not a number; lower train.learning_rate")
        self.data.count(settings.batch_size, int(sums.replaced))
        seconds, waited_s = time.perf_counter() - started, self.data.waited_s - waited
        self.interval.add(sums, settings.batch_size, seconds, waited_s)
        self.clock.add(seconds - waited_s)
        return (signals.received or signal.SIGTERM) if sums.stop else None

    def _after(self, step: int, stopped: bool) -> None:
        """Records, validation and checkpoints that are due after `step` steps."""
        settings = self.settings.train
        record: Record = {}
        last = step == settings.steps
        if step % settings.log_every == 0 or last:
            record = self._record(step)
        if self.data.validation is not None and (step % settings.validate_every == 0 or last):
            record |= {"step": step} | validate(
                self.engine, self.data.validation, self.settings, self.group, self.micro_batch
            )
        if record and self.group.is_main:
            self.log.record(record)
            self.on_record(record)
        if step % settings.checkpoint_every == 0 or last or stopped:
            started = time.perf_counter()
            state = {
                "interval": asdict(self.interval),
                "cursor": self.data.cursor(),
                "useful_s": self.clock.useful_s,
            }
            self.log.sync()
            folder = self.run / "checkpoints"
            save_checkpoint(folder, self.engine, self.group, self.settings, step, state, settings.keep_last)
            seconds = time.perf_counter() - started
            self.interval.checkpoint_s += seconds
            self._note("checkpoint", step=step, seconds=round(seconds, 3))
            if self.group.is_main:
                self.publish()

    def _record(self, step: int) -> Record:
        interval, self.interval = self.interval, Interval()
        norm = self.engine.get_global_grad_norm()
        samples_per_s = interval.samples / interval.seconds
        return {
            "step": step,
            "loss": interval.loss / interval.pairs,
            "accuracy": interval.correct / interval.pairs,
            "learning_rate": learning_rate_at(step - 1, self.settings.train),
            "grad_norm": None if norm is None else float(norm),
            "samples": step * self.settings.train.batch_size,
            "epoch": self.data.position / len(self.data.plan),
            "samples_per_s": round(samples_per_s, 2),
            "data_wait": round(interval.waited_s / interval.seconds, 4),
            "checkpoint_s": round(interval.checkpoint_s, 3),
            "goodput": round(self.clock.goodput(), 4),
            "replaced_samples": interval.replaced,
            **self.utilisation.of(samples_per_s),
            **memory_in_use(self.group.device),
        }

    def _build(self) -> Any:
        settings = self.settings
        model = build_on(self.group.device, settings.seed, lambda: TaskModel(Gavt(settings.model, settings.features)))
        assert isinstance(model, TaskModel)
        model.model.encoder.checkpointing = settings.train.activation_checkpointing == "full"
        return build_engine(model, settings.train, self.micro_batch, self.group)

    def _resume(self) -> int:
        """Load the newest whole checkpoint, rewind the metrics to it, and say at which step to go on."""
        checkpoint, step = self.checkpoint, 0
        if checkpoint is not None:
            load_engine(checkpoint, self.engine, self.group)
            self.interval = Interval(**checkpoint.manifest["state"]["interval"])
            self.clock.useful_s = checkpoint.manifest["state"]["useful_s"]
            step = checkpoint.step
        self.engine.train()
        self.log.begin(step)
        self._note("resume" if step else "start", step=step, world_size=self.group.world_size)
        self.clock.started = self.log.started or self.clock.started
        for change in self.data.changes:
            self._note("data", step=step, change=change)
        return step

    def _note(self, event: str, **details: Any) -> None:
        self.log.event(event, **details)
