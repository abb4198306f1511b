"""Everything `gavt evaluate` finds out about a checkpoint."""

import json
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

from cluster import storage
from cluster.process_group import ProcessGroup
from pipeline.errors import SettingsError
from pipeline.evaluate.device import pick_device
from pipeline.evaluate.measures.contract import Judged, Measure, OnProgress, Table, as_json
from pipeline.evaluate.registry import MEASURES, all_measures
from pipeline.evaluate.report.attention_figure import write_sweep_picture
from pipeline.evaluate.result import EVALUATION, TRAINING_GEOMETRY, Evaluation
from pipeline.evaluate.samples import EvaluationSamples, plan_evaluation
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.stream.read_plan import ReadPlan
from pipeline.stream.settings import DataSettings
from pipeline.stream.worker_pool import WorkerPool
from pipeline.train.load import Trained, load_trained


def evaluate(
    checkpoint: str,
    data: str,
    validation: str | None,
    out: str,
    settings: EvaluateSettings,
    reading: DataSettings | None = None,
    group: ProcessGroup | None = None,
    on_progress: OnProgress = lambda doing, done, total: None,
    on_result: Callable[[Evaluation], None] = lambda result: None,
    file: str = EVALUATION,
) -> Evaluation:
    """Evaluate a checkpoint on a shard set and write into `out`:

        evaluation.json         figures, see `Evaluation`; or another `file`
        evaluation_maps.npz     examples, see `pipeline.evaluate.examples`
        attention_sweep.npz     maps of all ways to read attention, see `pipeline.evaluate.measures.attention_sweep`
        attention_sweep.png     the same as a picture

    Each sample is read and decoded once, by one of the processes; the figures are the same on any number of them.

    Args:
        checkpoint: a run folder, a folder of checkpoints or one checkpoint.
        validation: shard set that chooses the readout and the saliency and gives the mean box.
        reading: how the shard sets are read; as in training unless given.
        group: the processes that share the work; this one alone unless given.
        on_progress: told on every process.
        on_result: told on the main process of the figures before they are written, which may fail after all.

    Raises:
        CheckpointError: no checkpoint there.
        ShardSetError: a shard set that is missing, unfinished or doesn't fit the model, or a sample of it that can't be
            decoded.
        SettingsError: a head or layer that the model doesn't have, or no measure that can be had.
        StorageError: `out` can't be written to, said before anything is evaluated.
    """
    device = pick_device(settings.device)
    group = ProcessGroup(0, 0, 1, device) if group is None else group
    device = group.device if device.type == "cuda" else device
    group.on_main(lambda: storage.check_writable(out))
    trained = group.each(lambda: load_trained(checkpoint, device))
    reading = reading or trained.settings.data
    urls = [data] if validation is None else [data, validation]
    workers = reading.workers if settings.workers is None else settings.workers
    reading = reading.model_copy(update={"workers": workers})
    with ExitStack() as stack:
        pool = None
        if workers:  # they start while the shard sets are opened
            pool = stack.enter_context(WorkerPool(workers, reading.deadline_s, urls, reading.worker_memory_mb))
        plans = _plans(urls, trained, settings, reading, group)
        sets = [EvaluationSamples(plan, settings, device, pool) for plan in plans]
        judged = Judged(trained, sets[0], sets[1] if len(sets) > 1 else None, settings)
        measures, left_out = group.each(lambda: _measures(judged))
        choosing = [measure for measure in measures if measure.chooses]
        if judged.choosing is not None and choosing:
            seen = _sweep(judged.choosing, choosing, True, group, "choosing on the validation split", on_progress)
            for measure, found in zip(choosing, seen, strict=True):
                measure.chosen(found)
        seen = _sweep(judged.samples, measures, False, group, "judging", on_progress)

    def write() -> Evaluation:
        tables = [table for measure, found in zip(measures, seen, strict=True) for table in measure.tables(found)]
        result = _result(judged, tables, left_out, data, validation)
        on_result(result)
        storage.write_text(storage.join(out, file), json.dumps(result, indent=2, allow_nan=False) + "\n")
        for measure, found in zip(measures, seen, strict=True):
            for name, content in measure.files(found).items():
                storage.write_bytes(storage.join(out, name), content)
        write_sweep_picture(out, tables)
        return result

    return group.on_main(write)


def _plans(
    urls: Sequence[str], trained: Trained, settings: EvaluateSettings, reading: DataSettings, group: ProcessGroup
) -> list[ReadPlan]:
    """How each shard set is read. Of several the samples have digests, so that those that lie in both can be said."""

    def plan_of(url: str, on_progress: Callable[[], None]) -> ReadPlan:
        return plan_evaluation(url, trained.settings, settings, reading, len(urls) > 1, group.nodes, on_progress)

    return [group.on_main_at_length(partial(plan_of, url), lambda: None) for url in urls]


def _result(
    judged: Judged, tables: Sequence[Table], left_out: list[str], data: str, validation: str | None
) -> Evaluation:
    trained, settings = judged.trained, judged.settings
    return Evaluation(
        tables=as_json(tables),
        left_out=left_out,
        warnings=[sentence for table in tables for sentence in table.warnings],
        samples=len(judged.samples),
        label_aided=trained.settings.task.label_aided,
        geometry=settings.judged_geometry,
        alignment_geometry=settings.shown_geometry,
        training_geometry=TRAINING_GEOMETRY,
        align_corners=settings.align_corners,
        checkpoint=trained.url,
        step=trained.step,
        data=data,
        validation=validation,
    )


def _measures(judged: Judged) -> tuple[list[Measure[Any]], list[str]]:
    """Those that can be had, and why others that were asked for can't."""
    asked = judged.settings.measures
    measures: list[Measure[Any]] = []
    left_out = []
    for settings in all_measures() if asked is None else asked:
        kind: type[Measure[Any]] = MEASURES.part_of(settings)
        reason = kind.reason_against(judged.trained, judged.samples)
        if reason is None:
            measures.append(kind(settings, judged))
        else:
            left_out.append(f"{settings.kind} is left out: {reason}")
    if asked is None and measures:
        left_out = []
    if not measures:
        raise SettingsError(f"evaluate.measures: expected one that can be had, but {'; '.join(left_out)}")
    return measures, left_out


def _sweep(
    samples: EvaluationSamples,
    measures: Sequence[Measure[Any]],
    choosing: bool,
    group: ProcessGroup,
    doing: str,
    on_progress: OnProgress,
) -> list[list[Any]]:
    """Go through all samples once; gives what each measure found in the chunks, in their order, on every process.

    The processes take turns at the chunks, and exchange what they found after each turn.
    """
    chunks = samples.chunks(math.lcm(*(measure.group for measure in measures)))
    mine = samples.go_through(chunks[group.rank :: group.world_size])

    def see() -> list[Any]:
        chunk = next(mine, None)
        if chunk is None:
            return []
        return [measure.choose(chunk) if choosing else measure.judge(chunk) for measure in measures]

    found: list[list[Any]] = [[] for _ in measures]
    on_progress(doing, 0, len(samples))
    with closing(mine):
        for turn in range(0, len(chunks), group.world_size):
            seen = group.gather_objects(group.each(see))
            for of_chunk in seen:
                for of_measure, new in zip(found, of_chunk, strict=bool(of_chunk)):
                    of_measure.append(new)
            on_progress(doing, sum(map(len, chunks[turn : turn + group.world_size])), len(samples))
    return found
