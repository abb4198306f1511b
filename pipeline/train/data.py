"""The data of a run: its loaders, where they are, and what was bad."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from cluster.process_group import ProcessGroup
from pipeline.errors import CheckpointError, SettingsError
from pipeline.stream.loader import Loader
from pipeline.stream.mixture import MixtureWeights
from pipeline.stream.read_plan import ReadPlan, order_error, plan_reading
from pipeline.stream.settings import ShardSource
from pipeline.stream.steps import steps_of
from pipeline.stream.worker_pool import WorkerPool
from pipeline.tasks.task import Task
from pipeline.train.checkpoints import Checkpoint
from pipeline.train.micro_batches import MicroBatches, prepared
from pipeline.train.run_settings import RunSettings

_SAMPLES_BEFORE_JUDGING = 1000


class TrainingData:
    """Batches of one process from a cursor on.

    Attributes:
        plan: what is read.
        position: global position of the next step's first sample.
        validation: reads the validation set; None where there is none.
        changes: sentences about data that is other than when the run was saved.
    """

    def __init__(
        self,
        loader: Loader,
        validation: Loader | None,
        settings: RunSettings,
        micro_batch: int,
        group: ProcessGroup,
        position: int,
        changes: list[str],
    ) -> None:
        self.plan: ReadPlan = loader.plan
        self.validation = validation
        self.position = position
        self.changes = changes
        self._loader, self._settings, self._micro_batch, self._group = loader, settings, micro_batch, group
        self._fingerprints = self.plan.fingerprints()
        self._samples = self._replaced = 0
        self._batches: MicroBatches | None = None

    def close(self) -> None:
        """Read no further."""
        if self._batches is not None:
            self._batches.close()

    @property
    def waited_s(self) -> float:
        """Seconds that training waited for data so far."""
        return 0.0 if self._batches is None else self._batches.waited_s

    def batches(self, steps: int, task: Task) -> MicroBatches:
        """This process's micro-batches of the next steps, prepared for the task."""
        size, group = self._settings.train.batch_size, self._group
        positions = steps_of(
            self.plan,
            self.position,
            steps,
            size,
            self._micro_batch,
            group.rank,
            group.world_size,
            self._settings.task.group,
        )
        prepare = prepared(task, self._settings.seed, "train", group.device)
        self._batches = MicroBatches(map(prepare, self._loader.batches(positions)), self._loader.interrupt)
        return self._batches

    def count(self, samples: int, replaced: int) -> None:
        """A step is done: so many samples were shown by all processes, and so many of them stood in for bad ones."""
        self.position += samples
        self._samples += samples
        self._replaced += replaced

    @property
    def fault(self) -> str | None:
        """Why the run can't go on with this data, in a sentence: too much of it is bad. None where it can; alike on all
        processes."""
        most = self._settings.data.max_bad_rate
        if self._samples < _SAMPLES_BEFORE_JUDGING or self._replaced <= most * self._samples:
            return None
        return (
            f"{self._replaced} of {self._samples} samples were bad since the start, more than "
            f"data.max_bad_rate = {most:g}; the log names them"
        )

    def cursor(self) -> dict[str, Any]:
        """Where to go on, as JSON."""
        history = [part.model_dump() for part in self.plan.mixture.history]
        contents = self.plan.contents()
        return {"position": self.position, "mix": history, "orders": self._fingerprints, "contents": contents}


@contextmanager
def open_data(
    settings: RunSettings,
    micro_batch: int,
    group: ProcessGroup,
    checkpoint: Checkpoint | None,
    on_progress: Callable[[], None] = lambda: None,
) -> Iterator[TrainingData]:
    """Open the data where a checkpoint left it, or at its beginning; its processes end with the block.

    Args:
        on_progress: called on every process whenever that has come further.

    Raises:
        SettingsError: no training data is named.
        ShardSetError: it is missing or damaged, or has another order than when the checkpoint was saved.
    """
    data = settings.data
    if data.train is None:
        raise SettingsError("data.train: expected a shard set to train on, found none")
    cursor = {} if checkpoint is None else _cursor_of(checkpoint)
    position = int(cursor.get("position", 0))
    history = [MixtureWeights.model_validate(part) for part in cursor.get("mix", [])]
    sources = [ShardSource(url=data.train)] if isinstance(data.train, str) else data.train
    with ExitStack() as stack:
        pool = None
        if data.workers:  # they start while the shard sets are opened
            pool = stack.enter_context(
                WorkerPool(data.workers, data.deadline_s, (one.url for one in sources), data.worker_memory_mb)
            )

        def plan_of(source: str | Sequence[ShardSource], augment: bool, **where: Any) -> ReadPlan:
            words = (settings.features, data, settings.seed, augment)
            where |= {"nodes": group.nodes, "fields": settings.fields}
            return group.on_main_at_length(
                lambda said: plan_reading(source, *words, on_progress=said, **where), on_progress
            )

        plan = plan_of(sources, True, history=history, position=position)
        changes = list(_changes(plan, history, cursor, data.allow_change))
        loader = stack.enter_context(Loader(plan, micro_batch, group.device, pool))
        validation = None
        if data.validation is not None:
            validation = stack.enter_context(Loader(plan_of(data.validation, False), micro_batch, group.device, pool))
        with closing(TrainingData(loader, validation, settings, micro_batch, group, position, changes)) as found:
            yield found


def _cursor_of(checkpoint: Checkpoint) -> dict[str, Any]:
    cursor = checkpoint.manifest["state"].get("cursor")
    if not isinstance(cursor, dict):
        raise CheckpointError(f"{checkpoint.url}: expected a cursor of the data in its manifest, found none")
    return cursor


def _changes(plan: ReadPlan, history: list[MixtureWeights], cursor: dict[str, Any], allowed: bool) -> Iterator[str]:
    """What is another than when the run was saved, in sentences.

    Raises:
        ShardSetError: the order of a set, which is not allowed.
    """
    before = cursor.get("orders", {})
    for name, now in plan.fingerprints().items():
        if name in before and before[name] != now:
            if not allowed:
                raise order_error(name, before[name], now)
            yield str(order_error(name, before[name], now)).partition(";")[0]
    known = cursor.get("contents", {})
    for name, now in plan.contents().items():
        if known.get(name, now) != now:
            where = f"shard set {name}" if name else "the shard set"
            yield f"{where} holds other bytes than when the run was saved: its samples are not those that were shown"
    before_runs, runs = history[-1].runs if history else None, plan.mixture.history[-1].runs
    if before_runs is not None and before_runs != runs:
        yield f"the weights are other ones: {before_runs} runs a cycle before, {runs} now"
