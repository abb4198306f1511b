"""Everything `gavt evaluate` finds out about a checkpoint."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from cluster import storage
from cluster.process_group import ProcessGroup
from pipeline.evaluate.coverage import coverage_of, said_of_coverage
from pipeline.evaluate.device import pick_device
from pipeline.evaluate.judging import Judgement, chunked_alike, go_through, measures_of, plans_of, seeing_alike
from pipeline.evaluate.measures.contract import Judged, OnProgress, Table, as_json, tables_of
from pipeline.evaluate.over_runs import OVER_RUNS, EvaluationOverRuns, over_runs, said_of_labels
from pipeline.evaluate.report.attention_figure import write_sweep_picture
from pipeline.evaluate.report.table_files import as_csv, as_latex
from pipeline.evaluate.result import EVALUATION, TRAINING_GEOMETRY, Evaluation
from pipeline.evaluate.sample_scores import SCORES, as_npz
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.stream.settings import DataSettings
from pipeline.stream.worker_pool import WorkerPool
from pipeline.train.load import Trained, load_trained


@dataclass(frozen=True)
class RunToJudge:
    """A run that is evaluated.

    Attributes:
        checkpoint: a run folder, a folder of checkpoints or one checkpoint.
        out: folder of its evaluation.
    """

    checkpoint: str
    out: str


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
    """Evaluate one run, see `evaluate_runs`."""
    (result,) = evaluate_runs(
        [RunToJudge(checkpoint, out)],
        data,
        validation,
        None,
        settings,
        reading,
        group,
        on_progress,
        lambda results, together: on_result(results[0]),
        file,
    )
    return result


def evaluate_runs(
    runs: Sequence[RunToJudge],
    data: str,
    validation: str | None,
    together: str | None,
    settings: EvaluateSettings,
    reading: DataSettings | None = None,
    group: ProcessGroup | None = None,
    on_progress: OnProgress = lambda doing, done, total: None,
    on_result: Callable[[list[Evaluation], EvaluationOverRuns | None], None] = lambda results, together: None,
    file: str = EVALUATION,
) -> list[Evaluation]:
    """Evaluate checkpoints on a shard set and write for each into its `out`:

        evaluation.json             figures, see `Evaluation`; or another `file`
        evaluation.csv, .tex        the tables, see `pipeline.evaluate.report.table_files`
        evaluation_scores.npz       what single samples give to them, see `pipeline.evaluate.sample_scores`
        evaluation_embeddings.npz   vectors, see `pipeline.evaluate.measures.kept_embeddings`
        evaluation_maps.npz         examples, see `pipeline.evaluate.examples`
        attention_sweep.npz         maps of all ways to read attention, see `pipeline.evaluate.measures.attention_sweep`
        attention_sweep.png         the same as a picture

    and into `together`, of several runs:

        evaluations.json        means over the runs, see `pipeline.evaluate.over_runs`
        evaluations.csv, .tex   the tables

    Each sample is read and decoded once for all models that take the same inputs, by one of the processes; the figures
    are the same on any number of them. All models are held at once.

    Args:
        validation: shard set that chooses the readout and the saliency and gives the mean box.
        reading: how the shard sets are read; as in the first run's training unless given.
        group: the processes that share the work; this one alone unless given.
        on_progress: told on every process.
        on_result: told on the main process of the figures before they are written, which may fail after all.

    Raises:
        CheckpointError: no checkpoint there.
        RunError: the runs have no table in common.
        ShardSetError: a shard set that is missing, unfinished or doesn't fit the model, or a sample of it that can't be
            decoded.
        SettingsError: a head or layer that the model doesn't have, or no measure that can be had.
        StorageError: `out` can't be written to, said before anything is evaluated.
    """
    device = pick_device(settings.device)
    group = ProcessGroup(0, 0, 1, device) if group is None else group
    device = group.device if device.type == "cuda" else device
    for folder in [run.out for run in runs] + ([] if together is None else [together]):
        group.on_main(partial(storage.check_writable, folder))
    trained = [group.each(partial(load_trained, run.checkpoint, device, group)) for run in runs]
    reading = reading or trained[0].settings.data
    urls = [data] if validation is None else [data, validation]
    workers = reading.workers if settings.workers is None else settings.workers
    reading = reading.model_copy(update={"workers": workers})
    judgements = [Judgement(one) for one in trained]
    with ExitStack() as stack:
        pool = None
        if workers:  # they start while the shard sets are opened
            pool = stack.enter_context(WorkerPool(workers, reading.deadline_s, urls, reading.worker_memory_mb))
        for alike in seeing_alike(judgements):
            plans = plans_of(urls, alike[0].trained, settings, reading, group)
            sets = [EvaluationSamples(plan, settings, device, pool) for plan in plans]
            for one in alike:
                judged = Judged(one.trained, sets[0], sets[1] if len(sets) > 1 else None, settings)
                one.judged = judged
                one.measures, one.measures_left_out = measures_of(judged, group)

            def open_set(url: str, trained: Trained = alike[0].trained) -> EvaluationSamples:
                (plan,) = plans_of([url], trained, settings, reading, group)
                return EvaluationSamples(plan, settings.model_copy(update={"max_samples": None}), device, pool)

            for together_now in chunked_alike(alike):
                go_through(together_now, open_set, group, on_progress)

    def write() -> list[Evaluation]:
        results = [_result(one, data, validation) for one in judgements]
        of_all = None if together is None else over_runs(results, [run.out for run in runs])
        on_result(results, of_all)
        for run, one, result in zip(runs, judgements, results, strict=True):
            _write(run.out, file, result, one.tables)
            scores = one.sample_scores
            for measure, found in zip(one.measures, one.found, strict=True):
                for name, content in measure.files(found).items():
                    storage.write_bytes(storage.join(run.out, name), content)
            if scores or file == EVALUATION:  # else those of an earlier one would stand beside it
                storage.write_bytes(storage.join(run.out, SCORES), as_npz(scores))
            write_sweep_picture(run.out, one.tables)
        if together is not None and of_all is not None:
            names = [run["name"] for run in of_all["runs"]]
            _write(together, OVER_RUNS, of_all, tables_of(of_all), names)
        return results

    return group.on_main(write)


def _write(
    folder: str,
    file: str,
    content: Mapping[str, Any],
    tables: Sequence[Table],
    names: Sequence[str] = (),
) -> None:
    """An evaluation as JSON, and its tables as CSV and LaTeX; `names` are those of the runs whose means they are."""
    storage.write_text(storage.join(folder, file), json.dumps(content, indent=2, allow_nan=False) + "\n")
    said = [*said_of_labels(content), said_of_coverage(content["coverage"]), *content["left_out"]]
    stem = storage.join(folder, file.removesuffix(".json"))
    storage.write_text(f"{stem}.csv", as_csv(tables, names))
    storage.write_text(f"{stem}.tex", as_latex(tables, said))


def _result(one: Judgement, data: str, validation: str | None) -> Evaluation:
    trained, settings = one.trained, one.judged.settings
    return Evaluation(
        tables=as_json(one.tables),
        left_out=one.left_out,
        warnings=[sentence for table in one.tables for sentence in table.warnings],
        samples=len(one.judged.samples),
        coverage=coverage_of(data, len(one.judged.samples.plan.sets[0]), len(one.judged.samples)),
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
