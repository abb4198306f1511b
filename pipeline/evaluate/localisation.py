"""Everything `gavt evaluate` finds out about a checkpoint."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, TypedDict

import numpy as np
import torch

from cluster import storage
from pipeline.evaluate.alignment import MmaResult, evaluate_alignment
from pipeline.evaluate.baselines.centre import centre_disc
from pipeline.evaluate.baselines.oracle import oracle_map
from pipeline.evaluate.baselines.saliency import saliency
from pipeline.evaluate.choice import Choice, choose
from pipeline.evaluate.device import pick_device
from pipeline.evaluate.examples import EXAMPLES, Examples
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.resize import Map
from pipeline.evaluate.metrics.scores import Row, SampleScore, average, score_map
from pipeline.evaluate.readouts.build import build_readout, points_into_frame
from pipeline.evaluate.samples import Batch, EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings, ReadoutName
from pipeline.tasks.mma import TaskModel
from pipeline.train.load import Trained, load_trained, untrained

EVALUATION = "evaluation.json"
MODEL, CENTRE, MEAN_BOX, SALIENCY = "model", "centre disc", "mean box", "image saliency"
UNTRAINED, SHUFFLED, ORACLE = "untrained network", "shuffled audio", "oracle ceiling"
SOUND_BLIND = (CENTRE, MEAN_BOX, SALIENCY)
"""Rows that never hear anything."""

Progress = Callable[[str, int, int], None]
"""Told (what is being done, samples done since the last call, samples in all)."""


class EvaluationRow(Row):
    """A row with what it is; `readout` says which readout (or saliency) stands behind it."""

    kind: Literal["readout", "model", "control", "ceiling"]
    readout: str | None


class Evaluation(TypedDict):
    """The content of `evaluation.json`.

    `located` counts the samples with boxes, on which rows are judged; where it is 0 the rows have no figures and `note`
    says why. `validation_pointing` is what the choice of `model_readout` rests on.
    """

    mma: MmaResult
    rows: list[EvaluationRow]
    model_readout: str
    samples: int
    located: int
    note: str | None
    checkpoint: str
    step: int
    data: str
    validation: str | None
    validation_pointing: dict[str, float]


def evaluate(
    checkpoint: str,
    data: str,
    validation: str | None,
    out: str,
    settings: EvaluateSettings,
    progress: Progress = lambda doing, done, total: None,
    on_result: Callable[[Evaluation], None] = lambda result: None,
) -> Evaluation:
    """Evaluate a checkpoint on a shard set and write into `out`:

        evaluation.json         figures, see `Evaluation`
        evaluation_maps.npz     examples, see `pipeline.evaluate.examples`

    Args:
        checkpoint: a run folder, a folder of checkpoints or one checkpoint.
        validation: shard set that chooses the readout and the saliency and gives the mean box.
        on_result: told of the figures before they are written, which may fail after all.

    Raises:
        CheckpointError: no checkpoint there.
        ShardSetError: a shard set that is missing, unfinished or doesn't fit the model.
        SettingsError: a head or layer that the model doesn't have.
        StorageError: `out` can't be written to, said before anything is evaluated.
    """
    storage.check_writable(out)
    device = pick_device(settings.device)
    trained = load_trained(checkpoint, device)
    samples = _open(data, trained, settings, device)
    choosing = None if validation is None else _open(validation, trained, settings, device)
    model = trained.task_model

    def advance(doing: str, total: int) -> Callable[[int], None]:
        progress(doing, 0, total)
        return lambda done: progress(doing, done, total)

    choice = choose(model, choosing, settings, advance("choosing on the validation split", len(choosing or ())))
    board = _Scoreboard()
    examples = Examples(settings.examples, settings.map_size)
    seen = advance("localising", len(samples))
    fresh = untrained(trained.settings, device, settings.seed)
    for start in range(0, len(samples), settings.batch_size):
        batch = samples.read(range(start, min(start + settings.batch_size, len(samples))))
        _score_batch(board, examples, batch, samples.other_sounds(start, batch), model, fresh, choice, settings)
        seen(len(batch.keys))
    mma = evaluate_alignment(
        model,
        samples,
        trained.settings.task,
        trained.settings.data,
        settings.seed,
        settings.batch_size,
        advance("aligning", len(samples)),
    )
    located = len(board.groups)
    result = Evaluation(
        mma=mma,
        rows=_rows(board, choice, settings),
        model_readout=choice.readout,
        samples=len(samples),
        located=located,
        note=None if located else f"{data} has no boxes, so only multi-modal alignment could be judged",
        checkpoint=trained.url,
        step=trained.step,
        data=data,
        validation=validation,
        validation_pointing=dict(choice.pointing),
    )
    on_result(result)
    storage.write_text(storage.join(out, EVALUATION), json.dumps(result, indent=2, allow_nan=False) + "\n")
    examples.write(storage.join(out, EXAMPLES), choice.readout)
    return result


class _Scoreboard:
    """Scores of each row on each located sample, and the samples' groups."""

    def __init__(self) -> None:
        self.scores: dict[str, list[SampleScore]] = {}
        self.groups: list[str | None] = []

    def add(self, row: str, maps: Iterable[Map], truths: Sequence[Mask]) -> None:
        scores = self.scores.setdefault(row, [])
        scores.extend(score_map(heat, truth) for heat, truth in zip(maps, truths, strict=True))


def _open(url: str, trained: Trained, settings: EvaluateSettings, device: torch.device) -> EvaluationSamples:
    return EvaluationSamples(url, trained.settings.features, settings.map_size, settings.max_samples, device)


def _score_batch(
    board: _Scoreboard,
    examples: Examples,
    batch: Batch,
    other_sounds: torch.Tensor | None,
    model: TaskModel,
    fresh: TaskModel,
    choice: Choice,
    settings: EvaluateSettings,
) -> None:
    """Score every row on the located samples of a batch, and keep examples."""

    def read(name: ReadoutName, task_model: TaskModel, waveform: torch.Tensor) -> Map:
        maps: Map = build_readout(name, settings)(task_model, batch.frames, waveform).cpu().numpy()
        return maps

    places = [place for place, truth in enumerate(batch.truths) if truth is not None]
    if not places:
        if len(examples) < examples.limit:
            examples.add(batch, read(choice.readout, model, batch.waveform))
        return
    if other_sounds is not None:
        other_sounds = other_sounds[places]
    batch = batch.select(places)
    truths = [truth for truth in batch.truths if truth is not None]
    grid = model.model.tokens.visual_grid
    board.groups.extend(metadata.group for metadata in batch.metadata)
    for name in dict.fromkeys((*settings.readouts, choice.readout)):
        if points_into_frame(name, settings):
            maps = read(name, model, batch.waveform)
            board.add(name, maps, truths)
            if name == choice.readout:
                examples.add(batch, maps)
                grid = (maps.shape[1], maps.shape[2])
    board.add(CENTRE, _repeat(centre_disc(settings.map_size), len(truths)), truths)
    if choice.mean_box is not None:
        board.add(MEAN_BOX, _repeat(choice.mean_box, len(truths)), truths)
    board.add(SALIENCY, saliency(choice.saliency, batch.middle.float() / 255).cpu().numpy(), truths)
    board.add(UNTRAINED, read(choice.readout, fresh, batch.waveform), truths)
    if other_sounds is not None:
        board.add(SHUFFLED, read(choice.readout, model, other_sounds), truths)
    board.add(ORACLE, (oracle_map(truth, grid) for truth in truths), truths)


def _repeat(heat: Map, times: int) -> Iterator[Map]:
    return (np.asarray(heat) for _ in range(times))


def _rows(board: _Scoreboard, choice: Choice, settings: EvaluateSettings) -> list[EvaluationRow]:
    def row(
        name: str,
        kind: Literal["readout", "model", "control", "ceiling"],
        scores_of: str | None = None,
        readout: str | None = None,
    ) -> EvaluationRow:
        scores = board.scores.get(scores_of or name, [])
        return {**average(name, scores, board.groups), "kind": kind, "readout": readout}

    return [
        *(row(name, "readout") for name in settings.readouts),
        row(MODEL, "model", choice.readout, choice.readout),
        row(CENTRE, "control"),
        row(MEAN_BOX, "control"),
        row(SALIENCY, "control", readout=choice.saliency),
        row(UNTRAINED, "control", readout=choice.readout),
        row(SHUFFLED, "control", readout=choice.readout),
        row(ORACLE, "ceiling"),
    ]
