"""Scores of all rows, sample by sample, and the rows that come of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.measures.contract import SampleScores
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.resize import Centres, Map, resize_seen
from pipeline.evaluate.metrics.scores import Figures, SampleScore, average, sample_figures, score_map
from pipeline.evaluate.readouts.integrated_gradients import Attribution
from pipeline.evaluate.samples import EvaluationBatch
from pipeline.samples.metadata import Box


@dataclass(frozen=True)
class Completeness:
    """How well the integrated gradients of a row add up: means over its maps, in logits.

    Attributes:
        steps: how finely the path was cut.
        difference: what the attributions should add up to.
        residue: by how much they miss it.
        missed: maps that miss it by more than `evaluate.integrated_gradients.residue` allows.
        maps: of how many; those that are finite.
    """

    steps: float
    difference: float
    residue: float
    missed: int
    maps: int


@dataclass
class Scores:
    """Scores of some located samples; those of several chunks add up.

    Attributes:
        indices: where the samples lie in their set.
        keys: of the samples.
        groups: the image that each shares with others.
        videos: that each is of.
        empty_truths: samples whose boxes have no area where maps are judged.
        of: each row's scores, one a sample.
        added_up: of rows by integrated gradients, for each sample steps, difference, residue, and 1 where it was
            missed.
    """

    indices: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    empty_truths: int = 0
    of: dict[str, list[SampleScore]] = field(default_factory=dict)
    added_up: dict[str, list[npt.NDArray[np.float64]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.indices)

    def __iadd__(self, other: "Scores") -> "Scores":
        self.indices += other.indices
        self.keys += other.keys
        self.groups += other.groups
        self.videos += other.videos
        self.empty_truths += other.empty_truths
        for name, scores in other.of.items():
            self.of.setdefault(name, []).extend(scores)
        for name, values in other.added_up.items():
            self.added_up.setdefault(name, []).extend(values)
        return self

    def figures(self, row: str) -> Figures:
        """A row's figures; none where it was not judged."""
        return average(self.of.get(row, []), self.groups)

    def sample_scores(self, measure: str, rows: Mapping[str, str]) -> SampleScores:
        """What single samples give to rows, by the names under which they were judged."""
        clusters = [group or video for group, video in zip(self.groups, self.videos, strict=True)]
        values = {
            row: sample_figures(self.of[judged], self.groups) for row, judged in rows.items() if judged in self.of
        }
        return SampleScores(measure, self.keys, clusters, values)

    def completeness(self, row: str) -> Completeness | None:
        """Of the maps that are finite, in the set's own order, so that sums hang on nothing else."""
        if row not in self.added_up:
            return None
        values = np.stack(self.added_up[row])[np.argsort(self.indices)]
        steps, difference, residue, missed = values[np.isfinite(values[:, 2])].T
        if not len(residue):
            return None
        return Completeness(
            float(steps.mean()),
            float(np.abs(difference).mean()),
            float(residue.mean()),
            int(missed.sum()),
            len(residue),
        )


class Scoreboard:
    """Judges the maps of all rows on the located samples of a batch."""

    def __init__(self, batch: EvaluationBatch, align_corners: bool) -> None:
        self._squares: list[Box] = batch.squares
        self._truths: list[Mask] = [truth for truth in batch.truths if truth is not None]
        self._align_corners = align_corners
        empty = sum(not truth.any() for truth in self._truths)
        self.scores = Scores(
            list(batch.indices),
            list(batch.keys),
            [metadata.group for metadata in batch.metadata],
            [metadata.video for metadata in batch.metadata],
            empty,
        )

    def add(
        self,
        row: str,
        maps: Iterable[Map],
        attribution: Attribution | None = None,
        centres: Centres | None = None,
    ) -> None:
        """Judge the maps [h, w] of a row, which lie over the squares that the model sees, one a sample."""
        judged = zip(maps, self._squares, self._truths, strict=True)
        corners = self._align_corners
        self._score(row, (resize_seen(heat, square, len(truth), corners, centres) for heat, square, truth in judged))
        if attribution is not None:
            values = (attribution.steps, attribution.difference, attribution.residue, attribution.missed)
            columns = np.stack([value.double().cpu().numpy() for value in values], axis=1)
            self.scores.added_up[row] = list(columns)

    def add_same(self, row: str, heat: Map) -> None:
        """Judge one map [S, S] on all samples; it lies over what of each frame the model sees."""
        self._score(row, (heat for _ in self._truths))

    def _score(self, row: str, maps: Iterable[Map]) -> None:
        self.scores.of[row] = [score_map(heat, truth) for heat, truth in zip(maps, self._truths, strict=True)]


def said_of_completeness(name: str, found: Completeness) -> str:
    """In a sentence."""
    return (
        f"{name}: attributions miss the difference of {found.difference:.2f} logits by {found.residue:.2f} (mean of "
        f"{found.maps:,} maps, {found.steps:.0f} steps each); {found.missed:,} miss it by more than "
        "evaluate.integrated_gradients.residue allows"
    )
