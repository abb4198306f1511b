"""Everything `gavt evaluate` finds out about a checkpoint."""

import json
from collections.abc import Callable
from dataclasses import replace

import torch

from cluster import storage
from pipeline.evaluate.baselines.centre import centre_disc
from pipeline.evaluate.baselines.oracle import oracle_map
from pipeline.evaluate.baselines.saliency import saliency
from pipeline.evaluate.device import pick_device
from pipeline.evaluate.examples import EXAMPLES, Examples
from pipeline.evaluate.measures.alignment import evaluate_alignment
from pipeline.evaluate.measures.choice import Choice, choose
from pipeline.evaluate.measures.other_sounds import choose_other_sounds
from pipeline.evaluate.measures.scoreboard import Scoreboard
from pipeline.evaluate.metrics.resize import Map
from pipeline.evaluate.readouts.build import build_readout, points_into_frame
from pipeline.evaluate.readouts.integrated_gradients import Attribution, IntegratedGradientsReadout
from pipeline.evaluate.result import (
    CENTRE,
    EVALUATION,
    MEAN_BOX,
    ORACLE,
    SALIENCY,
    SHUFFLED,
    TRAINING_GEOMETRY,
    UNTRAINED,
    Evaluation,
)
from pipeline.evaluate.samples import Batch, EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings, ReadoutName
from pipeline.evaluate.warnings import warnings_of
from pipeline.models.contract import VISUAL
from pipeline.tasks.contract import TaskSettings
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.tasks.task import System
from pipeline.train.load import Trained, load_trained, untrained

Progress = Callable[[str, int, int], None]
"""Told (what is being done, samples done since the last call, samples in all)."""


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
    model = trained.system

    def advance(doing: str, total: int) -> Callable[[int], None]:
        progress(doing, 0, total)
        return lambda done: progress(doing, done, total)

    choice = choose(model, choosing, settings, advance("choosing on the validation split", len(choosing or ())))
    mma = evaluate_alignment(
        model,
        samples,
        _pair_rule(trained.settings.task),
        trained.settings.data,
        settings.seed,
        settings.batch_size,
        advance("aligning", len(samples)),
    )
    judge = _Judge(trained, choice, settings, samples)
    seen = advance("localising", len(samples))
    for start in range(0, len(samples), settings.batch_size):
        places = range(start, min(start + settings.batch_size, len(samples)))
        judge.see(places, samples.read(places))
        seen(len(places))
    board, located = judge.board, len(judge.board.groups)
    rows = board.rows(choice, settings)
    result = Evaluation(
        mma=mma,
        rows=rows,
        model_readout=choice.readout,
        samples=len(samples),
        located=located,
        note=None if located else f"{data} has no boxes, so only multi-modal alignment could be judged",
        warnings=warnings_of(samples, choosing, rows, mma, board.empty_truths, judge.without_other_sound),
        label_aided=trained.settings.task.label_aided,
        geometry=settings.judged_geometry,
        alignment_geometry=settings.shown_geometry,
        training_geometry=TRAINING_GEOMETRY,
        align_corners=settings.align_corners,
        checkpoint=trained.url,
        step=trained.step,
        data=data,
        validation=validation,
        validation_pointing=dict(choice.pointing),
    )
    on_result(result)
    storage.write_text(storage.join(out, EVALUATION), json.dumps(result, indent=2, allow_nan=False) + "\n")
    judge.examples.write(storage.join(out, EXAMPLES), choice.readout)
    return result


def _open(url: str, trained: Trained, settings: EvaluateSettings, device: torch.device) -> EvaluationSamples:
    return EvaluationSamples(url, trained.settings.features, settings, device)


def _pair_rule(task: TaskSettings) -> MmaSettings:
    """How mismatched pairs are made: as in training where that was on pairs, else of any other frame of a group."""
    return task if isinstance(task, MmaSettings) else MmaSettings()


class _Judge:
    """Scores every row on the located samples of each batch, and keeps examples.

    Attributes:
        without_other_sound: located samples for which no sound could be found that does not belong to their image; the
            row `shuffled audio` is left out where there are any, for rows are judged on the same samples.
    """

    def __init__(
        self, trained: Trained, choice: Choice, settings: EvaluateSettings, samples: EvaluationSamples
    ) -> None:
        self.board = Scoreboard(settings.align_corners)
        self.examples = Examples(settings.examples, settings.map_size, settings.align_corners)
        self.model = trained.system
        self.fresh = untrained(trained.settings, samples.device, settings.seed)
        self.choice, self.settings, self.samples = choice, settings, samples
        metadata = [known.metadata for known in samples.known()]
        self.other_sounds = choose_other_sounds(metadata)
        self.without_other_sound = sum(
            other is None and one.boxes is not None for other, one in zip(self.other_sounds, metadata, strict=True)
        )

    def see(self, places: range, batch: Batch) -> None:
        """Score a batch of samples, which lie at these places of the shard set."""
        located = [number for number, truth in enumerate(batch.truths) if truth is not None]
        if not located:
            if len(self.examples) < self.examples.limit:
                self.examples.add(batch, self._read(self.choice.readout, self.model, batch)[0])
            return
        batch = batch.select(located)
        self.board.begin(batch)
        grid = self._score_readouts(batch)
        self.board.add_same(CENTRE, centre_disc(self.settings.map_size))
        if self.choice.mean_box is not None:
            self.board.add_same(MEAN_BOX, self.choice.mean_box)
        self.board.add(SALIENCY, saliency(self.choice.saliency, batch.middle.float() / 255).cpu().numpy())
        self.board.add(UNTRAINED, *self._read(self.choice.readout, self.fresh, batch))
        if not self.without_other_sound:
            others = [other for number in located if (other := self.other_sounds[places[number]]) is not None]
            unlike = replace(batch, waveform=self.samples.sounds(others))
            self.board.add(SHUFFLED, *self._read(self.choice.readout, self.model, unlike))
        truths = [batch.truth_in_square(place) for place in range(len(located))]
        self.board.add(ORACLE, (oracle_map(truth, grid) for truth in truths if truth is not None))

    def _score_readouts(self, batch: Batch) -> tuple[int, int]:
        """Score all readouts; gives the grid of the chosen one's maps."""
        _, *rows_columns = self.model.model.grids[VISUAL].shape
        grid = (rows_columns[0], rows_columns[1])
        for name in dict.fromkeys((*self.settings.readouts, self.choice.readout)):
            if points_into_frame(name, self.settings):
                maps, attribution = self._read(name, self.model, batch)
                self.board.add(name, maps, attribution)
                if name == self.choice.readout:
                    self.examples.add(batch, maps)
                    grid = (maps.shape[1], maps.shape[2])
        return grid

    def _read(self, name: ReadoutName, model: System, batch: Batch) -> tuple[Map, Attribution | None]:
        readout = build_readout(name, self.settings)
        if isinstance(readout, IntegratedGradientsReadout):
            attribution = readout.attribute(model, batch.inputs)
            return attribution.maps.cpu().numpy(), attribution
        return readout(model, batch.inputs).cpu().numpy(), None
