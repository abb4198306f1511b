"""What is trained: the engine and, where it is asked for, the average of its weights."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor

from cluster.process_group import ProcessGroup
from pipeline.models.build import build_on
from pipeline.models.pretrained import load_pretrained
from pipeline.models.recompute import set_checkpointing
from pipeline.train.checkpoints import Checkpoint
from pipeline.train.checkpoints.layout import DamagedError
from pipeline.train.checkpoints.restore import load_engine
from pipeline.train.checkpoints.saver import Saver
from pipeline.train.engine.build import build_engine
from pipeline.train.engine.ema import Ema
from pipeline.train.engine.teachers import begin_teachers
from pipeline.train.records.metrics_log import Record
from pipeline.train.run_settings import RunSettings
from pipeline.train.start_from import Source, Started, start_from
from pipeline.train.system import build_system


class TrainingState:
    """The engine with the weights of a checkpoint, or with fresh ones.

    Attributes:
        engine: with its optimiser.
        ema: the average of its weights; None without `train.ema_decay`.
        started: what became of what the run starts from; None where it has a checkpoint, or starts from nothing.
        average_change: a sentence where the checkpoint has an average and this run keeps none, or the other way round.
    """

    def __init__(
        self,
        settings: RunSettings,
        micro_batch: int,
        group: ProcessGroup,
        checkpoint: Checkpoint | None,
        source: Source | None = None,
    ) -> None:
        """
        Args:
            source: what a run that begins starts from (train.start_from).

        Raises:
            DamagedError: the checkpoint is not what was saved.
        """
        self._settings, self._micro_batch, self._group = settings, micro_batch, group
        self.started: Started | None = None
        try:
            self._build(checkpoint, source)
        except DamagedError:
            self._drop()
            raise

    def _build(self, checkpoint: Checkpoint | None, source: Source | None = None) -> None:
        settings = self._settings
        system = build_on(self._group.device, settings.seed, lambda: build_system(settings))
        set_checkpointing(system, settings.train.recomputed)
        if checkpoint is None:
            load_pretrained(system)
        exact: dict[str, Tensor] = {}
        if source is not None:
            self.started = start_from(system, source, settings.train, self._group)
            if settings.train.precision != "fp32":  # to which the engine rounds them, and takes its masters from that
                begin_teachers(system.teachers())
                exact = {name: one.detach().to("cpu", copy=True) for name, one in system.named_parameters()}
        self.engine = build_engine(system, settings.train, self._micro_batch, self._group)
        if exact:
            self.engine.take(exact)
        self.ema: Ema | None = None
        self.average_change: str | None = None
        if checkpoint is not None:
            self._load(checkpoint)
        elif settings.train.ema_decay is not None:
            self.ema = Ema(self.engine, settings.train.ema_decay)
        self.engine.train()

    def _load(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint's states in the place of those that are there."""
        decay, saved = self._settings.train.ema_decay, checkpoint.has_average
        if decay is not None and saved and self.ema is None:
            self.ema = Ema(self.engine, decay)
        load_engine(checkpoint, self.engine, self.ema.average if self.ema is not None and saved else None)
        if decay is not None and not saved:
            self.ema = Ema(self.engine, decay)  # from the weights that are there now
        self.average_change = _average_change(saved, decay)

    def go_back(self, checkpoint: Checkpoint) -> None:
        """Take the weights and optimiser states of a checkpoint, in the memory that is there: an engine that was given
        back leaves some of it behind (at ZeRO stage 3, 16 bytes a parameter). Every process must call it.

        Raises:
            DamagedError: that is not what was saved; then only another checkpoint can be taken.
        """
        self._load(checkpoint)

    def _drop(self) -> None:
        """Give back the engine's memory, which is needed for the next."""
        self.engine.destroy()
        del self.engine, self.ema

    def count_applied(self) -> None:
        """The optimiser has changed the weights."""
        if self.ema is not None:
            self.ema.update(self.engine)

    def record(self) -> Record:
        """Norm of the last step's gradient before clipping, None where it was not finite; in fp16 the loss scale."""
        scale = self.engine.loss_scale
        return {"grad_norm": self.engine.grad_norm} | ({} if scale is None else {"loss_scale": scale})

    def averaged(self) -> AbstractContextManager[None]:
        """A block in which the model computes with the average of its weights, if there is one."""
        return nullcontext() if self.ema is None else self.ema.in_place(self.engine)

    def save(self, saver: Saver, step: int, state: dict[str, Any]) -> None:
        """Save everything after `step` steps; every process must call it."""
        saver.save(self.engine, step, state, None if self.ema is None else self.ema.average)


def _average_change(saved: bool, decay: float | None) -> str | None:
    if saved == (decay is not None):
        return None
    if saved:
        return "the average of the weights is dropped, as train.ema_decay asks for none any more"
    return "the average of the weights starts from those of the checkpoint, which has none"
