"""Labels of samples, or of their segments, as a classification head tells them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluate.measures.contract import Column, Headline, Judged, Measure, Row, RowKind, SampleScores, Table
from pipeline.evaluate.metrics.average_precision import average_precision
from pipeline.evaluate.metrics.statistics import Mean, MeanAveragePrecision, MeanOfRatios, Statistic
from pipeline.evaluate.readouts.needs import needs_objective
from pipeline.evaluate.registry import MeasureSettings
from pipeline.evaluate.samples import Chunk, EvaluationSamples
from pipeline.tasks.classification import Classification, labels_of
from pipeline.tasks.task import objective
from pipeline.train.load import Trained

Scalar = TypeVar("Scalar", bound=np.generic)
Marks = npt.NDArray[np.bool_]
"""[N, T, C] which classes are there in the T segments of a sample, or in the one whole."""
Scores = npt.NDArray[np.float32]
"""[N, T, C] how sure somebody is of them; with several labels above 0 where they are said to be there."""


@dataclass(frozen=True)
class Answers:
    """What was told of the samples of a chunk that have labels.

    Attributes:
        keys, videos: of the samples.
        left_out: samples without labels.
    """

    keys: list[str]
    videos: list[str]
    there: Marks
    scores: Scores
    left_out: int


class Labels(Measure[Answers]):
    """How well the first classification head tells the labels, beside who says the same of all samples."""

    name: ClassVar[str] = "classification"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("accuracy", "surest class is right"),
        Column("balanced", "balanced accuracy"),
        Column("mean_precision", "mAP"),
    )
    about: ClassVar[str] = ""

    def __init__(self, settings: MeasureSettings, judged: Judged) -> None:
        super().__init__(settings, judged)
        task = objective(judged.trained.system.task, Classification)
        assert task is not None  # else there is a reason against it
        self._task, self._told = task, task.settings

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs a head; one of segments of which some are background is judged by `events`."""
        reason = needs_objective(trained.system, Classification, "classification")
        if reason is None and tells_background(trained):
            reason = "the head tells segments with a background, which the measure events judges"
        return reason

    @torch.no_grad()
    def judge(self, chunk: Chunk) -> Answers:
        """Answers to the samples of a chunk that have labels."""
        model, shown, told = self.judged.trained.system.model, chunk.shown, self._told
        known = [labels_of(sample, told) for sample in shown.metadata]
        labelled = shown.select([place for place, labels in enumerate(known) if labels is not None])
        shape = (-1, told.segments or 1, len(told.answers))
        scores = [np.zeros((0, *shape[1:]), np.float32)]
        for places in labelled.pieces(self.judged.settings.batch_size):
            logits = self._task.logits(model.fuse(model.embed(labelled.select(places).inputs)))
            scores.append(logits.float().cpu().numpy())
        there = np.array([labels for labels in known if labels is not None], dtype=bool).reshape(shape)
        videos = [metadata.video for metadata in labelled.metadata]
        return Answers(labelled.keys, videos, there, np.concatenate(scores), len(known) - len(labelled))

    def tables(self, found: Sequence[Answers]) -> list[Table]:
        """One, of all labels."""
        there, scores = _together(found)
        left_out, told = sum(one.left_out for one in found), self._told
        each = "sample" if told.segments is None else "segment"
        title = f"{len(told.classes)} classes, {told.labels} a {each}"
        notes = [f"{left_out:,} samples without labels are left out"] if left_out else []
        if not len(there):
            return [Table(self.name, title, (), (), 0, notes=("no sample has a label", *notes))]
        figures = self.sample_scores(found)[0]
        said = self._said(there, scores)
        rows = [
            Row(row, kind, figures.figures(row), details={"classes": self._classes(there, of_row)})
            for (row, kind), of_row in said.items()
        ]
        not_finite = int((~np.isfinite(scores)).any(-1).sum())
        warning = f"{not_finite} answers of {self.name} are not finite (NaN or infinite): they count as wrong"
        accuracy = rows[0].values["accuracy"]
        assert accuracy is not None
        beside = tuple((row.name, row.values["accuracy"]) for row in rows[1:])
        return [
            Table(
                self.name,
                title,
                self.columns,
                tuple(rows),
                len(there),
                about=self.about,
                notes=(*self._counted(there), *notes),
                warnings=(warning,) if not_finite else (),
                headlines=(Headline("labels told right", accuracy, "share", beside),),
                details={"left_out": left_out, "not_finite": not_finite},
            )
        ]

    def sample_scores(self, found: Sequence[Answers]) -> list[SampleScores]:
        """Of each answer, one a sample or segment."""
        there, scores = _together(found)
        if not len(there):
            return []
        segments = self._told.segments or 1
        ids = [
            f"{key} segment {segment}" if self._told.segments else key
            for one in found
            for key in one.keys
            for segment in range(segments)
        ]
        videos = [video for one in found for video in one.videos for _ in range(segments)]
        values = {row: self._figures(_flat(there), _flat(said)) for (row, _), said in self._said(there, scores).items()}
        return [SampleScores(self.name, ids, videos, values)]

    def _said(self, there: Marks, scores: Scores) -> dict[tuple[str, RowKind], Scores]:
        """By row, how sure it is of the classes."""
        return {("model", "model"): scores, ("the commonest class always", "control"): commonest(there)}

    def _counted(self, there: Marks) -> tuple[str, ...]:
        """Sentences of what was judged."""
        return ()

    def _figures(self, truth: Marks, ranked: Scores) -> Mapping[str, Statistic]:
        """By column, of answers [N, C]; those that are not finite are wrong."""
        said = chosen(ranked, self._told.labels)
        return {
            "accuracy": Mean(right(truth, ranked).astype(np.float64)),
            "balanced": balanced_accuracy(truth, said, self._told.labels),
            "mean_precision": MeanAveragePrecision(_finite(ranked).T, truth.T),
        }

    def _classes(self, there: Marks, scores: Scores) -> dict[str, dict[str, float | int | None]]:
        """By class how often it is there, is said then, and its average precision."""
        truth, ranked = _flat(there), _finite(_flat(scores))
        said, found = chosen(ranked, self._told.labels), {}
        for number, name in enumerate(self._told.answers):
            of_class, count = truth[:, number], int(truth[:, number].sum())
            recall = float(said[of_class, number].mean()) if count else None
            found[name] = {
                "there": count,
                "recall": recall,
                "precision": average_precision(ranked[:, number], of_class),
            }
        return found


def tells_background(trained: Trained) -> bool:
    """Whether the classification head tells segments of which some have no label."""
    task = objective(trained.system.task, Classification)
    return task is not None and task.settings.has_background


def right(truth: Marks, ranked: Scores) -> npt.NDArray[np.bool_]:
    """[N] whether the surest class of answers [N, C] is there, and all of the answer are numbers."""
    surest = _finite(ranked).argmax(-1)[:, None]
    found: npt.NDArray[np.bool_] = np.take_along_axis(truth, surest, -1)[:, 0] & np.isfinite(ranked).all(-1)
    return found


def chosen(ranked: Scores, labels: Literal["one", "several"]) -> Marks:
    """[N, C] the classes that answers say."""
    finite = np.isfinite(ranked).all(-1, keepdims=True)
    if labels == "several":
        return (ranked > 0) & finite
    said: Marks = (np.arange(ranked.shape[-1]) == _finite(ranked).argmax(-1)[:, None]) & finite
    return said


def balanced_accuracy(truth: Marks, said: Marks, labels: Literal["one", "several"]) -> MeanOfRatios:
    """Of answers [N, C] the mean over classes of how often they are said where they are there; with several labels also
    of how often nothing is said that is not there."""
    recalls = np.stack([said & truth, truth]).transpose(0, 2, 1).astype(np.float64)  # [2, C, N]
    if labels == "one":
        return MeanOfRatios(recalls[0][None], recalls[1][None])
    others = np.zeros_like(recalls)
    others[0, 0], others[1, 0] = (~said & ~truth).sum(1), (~truth).sum(1)
    return MeanOfRatios(*(np.stack([ours, rest]) for ours, rest in zip(recalls, others, strict=True)))


def _finite(ranked: Scores) -> Scores:
    """Answers [N, C] of which those with any that is no number say least of all."""
    return np.where(np.isfinite(ranked).all(-1, keepdims=True), ranked, np.float32(-np.inf))


def commonest(there: Marks) -> Scores:
    """Of each segment the same: how often each class is there, less the half from which on it is said."""
    shares = there.mean((0, 1), dtype=np.float32) - np.float32(0.5)
    return np.broadcast_to(shares, there.shape)


def _flat(of_segments: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """[N, T, C] → [N·T, C]"""
    return of_segments.reshape(-1, of_segments.shape[-1])


def _together(found: Sequence[Answers]) -> tuple[Marks, Scores]:
    return np.concatenate([one.there for one in found]), np.concatenate([one.scores for one in found])
