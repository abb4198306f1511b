"""Scores of all rows, sample by sample, and the rows that come of them."""

from collections.abc import Iterable, Sequence

import torch

from pipeline.evaluate.choice import Choice
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.resize import Map
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
from pipeline.evaluate.settings import EvaluateSettings


class Scoreboard:
    """Scores of each row on each located sample, and the samples' groups."""

    def __init__(self, align_corners: bool) -> None:
        self.align_corners = align_corners
        self.scores: dict[str, list[SampleScore]] = {}
        self.groups: list[str | None] = []
        self.empty_truths = 0
        self._attributions: dict[str, list[Attribution]] = {}

    def begin(self, groups: Iterable[str | None], truths: Sequence[Mask]) -> None:
        """Samples that every row is then judged on."""
        self.groups.extend(groups)
        self.empty_truths += sum(not truth.any() for truth in truths)

    def add(
        self, row: str, maps: Iterable[Map], truths: Sequence[Mask], attribution: Attribution | None = None
    ) -> None:
        """Judge the maps of a row, one a sample."""
        scores = self.scores.setdefault(row, [])
        scores.extend(score_map(heat, truth, self.align_corners) for heat, truth in zip(maps, truths, strict=True))
        if attribution is not None:
            self._attributions.setdefault(row, []).append(attribution)

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
