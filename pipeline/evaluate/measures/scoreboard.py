"""Scores of all rows, sample by sample, and the rows that come of them."""

from collections.abc import Iterable

import torch

from pipeline.evaluate.measures.choice import Choice
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.resize import Map, resize_seen
from pipeline.evaluate.metrics.scores import SampleScore, average, score_map
from pipeline.evaluate.readouts.integrated_gradients import Attribution
from pipeline.evaluate.result import (
    CENTRE,
    MEAN_BOX,
    MODEL,
    ORACLE,
    SALIENCY,
    SHUFFLED,
    UNTRAINED,
    Completeness,
    EvaluationRow,
    Kind,
)
from pipeline.evaluate.samples import Batch
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.samples.metadata import Box


class Scoreboard:
    """Scores of each row on each located sample, and the samples' groups."""

    def __init__(self, align_corners: bool) -> None:
        self.align_corners = align_corners
        self.scores: dict[str, list[SampleScore]] = {}
        self.groups: list[str | None] = []
        self.empty_truths = 0
        self._attributions: dict[str, list[Attribution]] = {}
        self._squares: list[Box] = []
        self._truths: list[Mask] = []

    def begin(self, batch: Batch) -> None:
        """Begin with located samples, on which every row is then judged."""
        self.groups.extend(metadata.group for metadata in batch.metadata)
        self._squares = batch.squares
        self._truths = [truth for truth in batch.truths if truth is not None]
        self.empty_truths += sum(not truth.any() for truth in self._truths)

    def add(self, row: str, maps: Iterable[Map], attribution: Attribution | None = None) -> None:
        """Judge the maps [h, w] of a row, which lie over the squares that the model sees, one a sample."""
        judged = zip(maps, self._squares, self._truths, strict=True)
        self._score(row, (resize_seen(heat, square, len(truth), self.align_corners) for heat, square, truth in judged))
        if attribution is not None:
            self._attributions.setdefault(row, []).append(attribution)

    def add_same(self, row: str, heat: Map) -> None:
        """Judge one map [S, S] on all samples; it lies over what of each frame the model sees."""
        self._score(row, (heat for _ in self._truths))

    def _score(self, row: str, maps: Iterable[Map]) -> None:
        scores = self.scores.setdefault(row, [])
        scores.extend(score_map(heat, truth) for heat, truth in zip(maps, self._truths, strict=True))

    def rows(self, choice: Choice, settings: EvaluateSettings) -> list[EvaluationRow]:
        """The table, top to bottom."""

        def row(name: str, kind: Kind, of: str | None = None, readout: str | None = None) -> EvaluationRow:
            scores = self.scores.get(of or name, [])
            completeness = self._completeness(of or name)
            figures = average(name, scores, self.groups)
            return {**figures, "kind": kind, "readout": readout, "completeness": completeness}

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

    def _completeness(self, row: str) -> Completeness | None:
        """Of the maps that are finite."""
        attributions = self._attributions.get(row, [])
        steps, difference, residue, missed = (
            torch.cat([getattr(one, name).double().cpu() for one in attributions] or [torch.empty(0)])
            for name in ("steps", "difference", "residue", "missed")
        )
        finite = residue.isfinite()
        if not finite.any():
            return None
        return Completeness(
            steps=float(steps[finite].mean()),
            difference=float(difference[finite].abs().mean()),
            residue=float(residue[finite].mean()),
            missed=int(missed[finite].sum()),
            maps=int(finite.sum()),
        )
