"""Labels of samples, or of their segments, as a classification head tells them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluate.measures.contract import Column, Headline, Judged, Measure, Row, RowKind, SampleScores, Table
from pipeline.evaluate.metrics.average_precision import average_precision
from pipeline.evaluate.readouts.needs import needs_objective
from pipeline.evaluate.registry import MeasureSettings
from pipeline.evaluate.samples import Chunk, EvaluationSamples
from pipeline.tasks.classification import Classification, labels_of
from pipeline.tasks.task import objective
from pipeline.train.load import Trained

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
    """How well the first classification head tells the labels, beside who says the same of all samples and, of
    segments, beside who knows what the sample as a whole is of."""

    def __init__(self, settings: MeasureSettings, judged: Judged) -> None:
        super().__init__(settings, judged)
        task = objective(judged.trained.system.task, Classification)
        assert task is not None  # else there is a reason against it
        self._task, self._told = task, task.settings

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs a head."""
        return needs_objective(trained.system, Classification, "classification")

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
            return [Table("classification", title, (), (), 0, notes=("no sample has a label", *notes))]
        rows = [self._row(*row, there, said) for row, said in self._said(there, scores).items()]
        columns = [Column("accuracy", "surest class is right")]
        if told.has_background:
            columns += [Column("labelled", "in segments with a label"), Column("background", "in others")]
        columns += [Column("balanced", "balanced accuracy"), Column("mean_precision", "mAP")]
        not_finite = int((~np.isfinite(scores)).any(-1).sum())
        warning = f"{not_finite} answers of classification are not finite (NaN or infinite): they count as wrong"
        accuracy = rows[0].values["accuracy"]
        assert accuracy is not None
        headline = Headline(
            "labels told right", accuracy, "share", tuple((row.name, row.values["accuracy"]) for row in rows[1:])
        )
        return [
            Table(
                "classification",
                title,
                tuple(columns),
                tuple(rows),
                len(there),
                notes=tuple(notes),
                warnings=(warning,) if not_finite else (),
                headlines=(headline,),
                details={"left_out": left_out, "not_finite": not_finite},
            )
        ]

    def sample_scores(self, found: Sequence[Answers]) -> list[SampleScores]:
        """Of each sample the share of its segments whose surest class is right."""
        there, scores = _together(found)
        if not len(there):
            return []
        values = {
            row: {"accuracy": _right(there, said).mean(1)} for (row, _), said in self._said(there, scores).items()
        }
        keys, videos = ([name for one in found for name in getattr(one, names)] for names in ("keys", "videos"))
        return [SampleScores("classification", keys, videos, values)]

    def _said(self, there: Marks, scores: Scores) -> dict[tuple[str, RowKind], Scores]:
        """By row, how sure it is of the classes."""
        said: dict[tuple[str, RowKind], Scores] = {("model", "model"): scores}
        said["the commonest class always", "control"] = self._constant(there)
        if self._told.has_background:
            said["the sample's class in all segments", "control"] = _of_whole(there)
        return said

    def _row(self, name: str, kind: RowKind, there: Marks, scores: Scores) -> Row:
        """Figures over all segments, each a row of [N·T, C]; `details` has them by class."""
        told, finite = self._told, np.isfinite(scores).all(-1).ravel()
        truth, ranked = there.reshape(-1, there.shape[-1]), scores.reshape(-1, there.shape[-1])
        ranked = np.where(finite[:, None], ranked, -np.inf)
        surest, right = ranked.argmax(-1), _right(there, scores).ravel()
        said = ranked > 0
        if told.labels == "one":
            said = (np.arange(truth.shape[-1]) == surest[:, None]) & finite[:, None]
        classes = {}
        for number, class_name in enumerate(told.answers):
            of_class, count = truth[:, number], int(truth[:, number].sum())
            recall = float(said[of_class, number].mean()) if count else None
            precision = average_precision(ranked[:, number], of_class)
            classes[class_name] = {"there": count, "recall": recall, "precision": precision}
        recalls = [one["recall"] for one in classes.values() if one["recall"] is not None]
        balanced = float(np.mean(recalls)) if recalls else None
        if told.labels == "several" and balanced is not None:
            balanced = None if truth.all() else (balanced + float((~said[~truth]).mean())) / 2
        precisions = [one["precision"] for one in classes.values() if one["precision"] is not None]
        values: dict[str, float | None] = {"accuracy": float(right.mean()), "balanced": balanced}
        if told.has_background:
            outside = truth[:, -1]
            values["labelled"] = float(right[~outside].mean()) if not outside.all() else None
            values["background"] = float(right[outside].mean()) if outside.any() else None
        values["mean_precision"] = float(np.mean(precisions)) if precisions else None
        return Row(name, kind, values, details={"classes": classes})

    def _constant(self, there: Marks) -> Scores:
        """Of each segment the same: how often each class is there, less the half from which on it is said."""
        shares = there.mean((0, 1), dtype=np.float32) - np.float32(0.5)
        return np.broadcast_to(shares, there.shape)


def _together(found: Sequence[Answers]) -> tuple[Marks, Scores]:
    return np.concatenate([one.there for one in found]), np.concatenate([one.scores for one in found])


def _right(there: Marks, scores: Scores) -> npt.NDArray[np.bool_]:
    """[N, T] whether the surest class is there, and all answers are numbers."""
    known = np.isfinite(scores).all(-1, keepdims=True)
    surest = np.where(known, scores, -np.inf).argmax(-1, keepdims=True)
    found: npt.NDArray[np.bool_] = (np.take_along_axis(there, surest, -1) & known).squeeze(-1)
    return found


def _of_whole(there: Marks) -> Scores:
    """Of each segment the class that most segments of its sample with a label have; background where none has."""
    counts = there.sum(1, keepdims=True).astype(np.float32)
    counts[..., -1] = 0.5  # any label before background
    return np.broadcast_to(counts, there.shape)
