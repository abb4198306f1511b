"""The training loop."""

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from cluster.process_group import ProcessGroup
from pipeline.errors import RunError, SettingsError
from pipeline.models.build import build_on
from pipeline.models.gavt import Gavt
from pipeline.settings.experiment import ExperimentSettings
from pipeline.tasks.mma import TaskModel, draw_pairs
from pipeline.train.checkpoints import Checkpoint, load_engine, newest_checkpoint, save_checkpoint
from pipeline.train.data import TrainingData, open_data
from pipeline.train.engine import average_buffers, build_engine, learning_rate_at, micro_batch_of
from pipeline.train.metrics_log import EventLog, MetricsLog, Record
from pipeline.train.remote_run import run_place
from pipeline.train.run_folder import log_to, write_or_check_config
from pipeline.train.validate import validate
from pipeline.train.wandb_sink import WandbSink

_log = logging.getLogger(__name__)
_DROPOUT_STRIDE = 1_000_003


@dataclass
class Interval:
    """What happened since the last record; saved with a checkpoint, so that a resumed run's records are the same."""

    loss: float = 0.0
    correct: float = 0.0
    pairs: float = 0.0
    samples: int = 0
    steps: int = 0
    replaced: float = 0.0
    seconds: float = field(default=0.0, compare=False)
    waited_s: float = field(default=0.0, compare=False)


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
    with run_place(run, group) as (folder, publish), _stop_signals() as stop:
        if group.is_main:
            write_or_check_config(folder, settings)
        log_to(folder / "logs" / f"rank-{group.rank:05d}.log")
        checkpoint = group.from_main(newest_checkpoint(folder / "checkpoints") if group.is_main else None)
        with open_data(settings, micro_batch, group, checkpoint) as data:
            return _Training(settings, folder, group, micro_batch, data, checkpoint, on_record, publish).go(stop)


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
        self.metrics = MetricsLog(run / "metrics.jsonl")
        self.events = EventLog(run / "events.jsonl")
        self.interval = Interval()
        self.last: Record = {}

    def go(self, stop: dict[str, int]) -> TrainResult:
        settings, group = self.settings.train, self.group
        self.engine = self._build()
        step = self._resume()
        batches = self.data.batches(settings.steps - step)
        stopped_by = None
        while step < settings.steps and stopped_by is None:
            stopped_by = self._step(step, batches, stop)
            step += 1
            self._after(step, stopped=stopped_by is not None)
        self._note("stop" if stopped_by else "end", step=step)
        if self.wandb is not None:
            self.wandb.finish()
        if group.is_main:
            self.publish()
        group.barrier()
        return TrainResult(step, stopped_by, self.last)

    def _step(self, step: int, batches: Iterator[Any], stop: dict[str, int]) -> int | None:
        """One optimiser step; the signal that asks to stop, agreed on by all processes."""
        settings, started, waited = self.settings.train, time.perf_counter(), self.data.waited_s
        accumulated = settings.batch_size // (self.micro_batch * self.group.world_size)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate_at(step, settings)
        # dropout is keyed by step and rank, so that a resumed run draws the same
        torch.manual_seed(self.settings.seed + _DROPOUT_STRIDE * (step * self.group.world_size + self.group.rank + 1))
        loss_sum = correct = shown = replaced = 0.0
        for _ in range(accumulated):
            batch = next(batches)
            frames, waveform = batch.on_device(self.group.device, self.settings.features.frame_size)
            pairs = draw_pairs(self.settings.task, self.settings.seed, batch.positions, batch.metadata)
            loss, right = self.engine(frames, waveform, pairs.to(self.group.device))
            self.engine.backward(loss)
            self.engine.step()
            loss_sum += float(loss.detach()) * len(pairs)
            correct += float(right)
            shown += len(pairs)
            replaced += batch.replaced
        average_buffers(self.engine.module, self.group)
        loss_sum, correct, shown, replaced, signal_number = self.group.sum(
            [loss_sum, correct, shown, replaced, float(stop.get("signal", 0))]
        )
        if not math.isfinite(loss_sum) and settings.precision != "fp16":  # fp16's loss scaling skips such a step itself
            raise RunError(f"{self.run}: the loss of step {step + 1} is not a number; lower train.learning_rate")
        self.data.count(settings.batch_size, int(replaced))
        interval = self.interval
        interval.loss += loss_sum
        interval.correct += correct
        interval.pairs += shown
        interval.samples += settings.batch_size
        interval.replaced += replaced
        interval.steps += 1
        interval.seconds += time.perf_counter() - started
        interval.waited_s += self.data.waited_s - waited
        return int(stop.get("signal", signal.SIGTERM)) if signal_number else None

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
            self.metrics.write(record)
            if self.wandb is not None:
                self.wandb.log(record)
            self.last = self.last | record
            self.on_record(record)
        if step % settings.checkpoint_every == 0 or last or stopped:
            started = time.perf_counter()
            state = {"interval": asdict(self.interval), "cursor": self.data.cursor()}
            folder = self.run / "checkpoints"
            save_checkpoint(folder, self.engine, self.group, self.settings, step, state, settings.keep_checkpoints)
            self._note("checkpoint", step=step, seconds=round(time.perf_counter() - started, 3))
            if self.group.is_main:
                self.publish()

    def _record(self, step: int) -> Record:
        interval, self.interval = self.interval, Interval()
        norm = self.engine.get_global_grad_norm()
        return {
            "step": step,
            "loss": interval.loss / interval.pairs,
            "accuracy": interval.correct / interval.pairs,
            "learning_rate": learning_rate_at(step - 1, self.settings.train),
            "grad_norm": None if norm is None else float(norm),
            "samples": step * self.settings.train.batch_size,
            "epoch": self.data.position / len(self.data.plan),
            "samples_per_s": round(interval.samples / interval.seconds, 2),
            "data_wait": round(interval.waited_s / interval.seconds, 4),
            "replaced_samples": interval.replaced,
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
            step = checkpoint.step
        self.engine.train()
        self.wandb = None
        if self.group.is_main:
            records = self.metrics.rewind(step)
            for record in records:
                self.last = self.last | record
            config = self.settings.model_dump(mode="json")
            self.wandb = WandbSink(self.settings.train.wandb, self.run / "wandb", self.settings.name, config)
            self.wandb.fill(records)
        self._note("resume" if step else "start", step=step, world_size=self.group.world_size)
        for change in self.data.changes:
            self._note("data", step=step, change=change)
        return step

    def _note(self, event: str, **details: Any) -> None:
        if self.group.is_main:
            self.events.write(event, **details)
            _log.info("%s %s", event, details)


@contextmanager
def _stop_signals() -> Iterator[dict[str, int]]:
    """Note SIGTERM, SIGINT and SIGUSR2 (preemption) instead of dying: the run saves a checkpoint first."""
    stop: dict[str, int] = {}

    def note(number: int, frame: FrameType | None) -> None:
        stop["signal"] = number

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
