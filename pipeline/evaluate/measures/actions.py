"""Action recognition as UCF101 and HMDB51 are judged: a video is what its sub-clips say on average."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluate.measures.classification import (
    Marks,
    Scores,
    balanced_accuracy,
    chosen,
    commonest,
    right,
)
from pipeline.evaluate.measures.contract import Column, Headline, Judged, Measure, Row, RowKind, SampleScores, Table
from pipeline.evaluate.metrics.statistics import Mean, Statistic
from pipeline.evaluate.readouts.needs import needs_objective
from pipeline.evaluate.registry import ActionsSettings
from pipeline.evaluate.samples import Chunk, EvaluationSamples
from pipeline.tasks.classification import Classification, labels_of
from pipeline.tasks.task import objective
from pipeline.train.load import Trained

_FIRST = 5
"""Answers among which the right one is also looked for, where there are more classes."""
_COLUMNS = (
    Column("accuracy", "videos told right"),
    Column("first", f"among the first {_FIRST}"),
    Column("balanced", "mean over classes"),
)
_MODEL, _MIDDLE, _COMMONEST = "model", "the middle sub-clip alone", "the commonest class always"
_KINDS: dict[str, RowKind] = {_MODEL: "model", _MIDDLE: "readout", _COMMONEST: "control"}
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What was told of the samples of a chunk that have a label.

    Attributes:
        videos: that they are of.
        there: [N, C] their classes.
        said: [N, C] the probabilities of the classes, averaged over the sub-clips.
        middle: [N, C] those of the middle one.
        left_out: samples without a label.
    """

    videos: list[str]
    there: Marks
    said: Shares
    middle: Shares
    left_out: int


class Actions(Measure[Answers]):
    """The class of a video is the one that is likeliest on average over evenly spaced sub-clips of all its samples."""

    name: ClassVar[str] = "actions"
    settings: ActionsSettings

    def __init__(self, settings: ActionsSettings, judged: Judged) -> None:
        super().__init__(settings, judged)
        task = objective(judged.trained.system.task, Classification)
        assert task is not None  # else there is a reason against it
        self._task, self._told = task, task.settings

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs a head of one label a sample, and clips."""
        reason = needs_objective(trained.system, Classification, "classification")
        if reason is not None:
            return reason
        task = objective(trained.system.task, Classification)
        if task is None or task.settings.labels != "one" or task.settings.segments is not None:
            return "it needs a head that tells one label a sample, with task.labels=one and no task.segments"
        layout = samples.read([0]).shown.metadata[0].layout
        return (
            None if layout == "clip" else f"it needs samples of layout clip, of which there are parts, found {layout}"
        )

    @torch.no_grad()
    def judge(self, chunk: Chunk) -> Answers:
        """Answers to all sub-clips of a chunk's samples that have a label."""
        model, metadata, clips = self.judged.trained.system.model, chunk.shown.metadata, self.settings.clips
        known = [labels_of(sample, self._told) for sample in metadata]
        labelled = [place for place, labels in enumerate(known) if labels is not None]
        shape = (len(labelled), len(self._told.answers))
        said, middle = np.zeros(shape), np.zeros(shape)
        views = self.judged.samples.in_views([chunk.start + place for place in labelled], clips)
        for row, inputs in enumerate(views):
            pieces = [
                self._task.logits(
                    model.fuse(model.embed({name: values[start:stop] for name, values in inputs.items()}))
                )
                for start, stop in self._pieces()
            ]
            likely = torch.cat(pieces)[:, 0].double().softmax(-1).cpu().numpy()
            said[row], middle[row] = likely.mean(0), likely[clips // 2]
        there = np.array([known[place] for place in labelled], dtype=bool).reshape(shape)
        videos = [metadata[place].video for place in labelled]
        return Answers(videos, there, said, middle, len(known) - len(labelled))

    def _pieces(self) -> list[tuple[int, int]]:
        size, clips = self.judged.settings.batch_size, self.settings.clips
        return [(start, min(start + size, clips)) for start in range(0, clips, size)]

    def tables(self, found: Sequence[Answers]) -> list[Table]:
        """One, of videos."""
        title, left_out = f"actions of {len(self._told.classes)} classes", sum(one.left_out for one in found)
        notes = [f"{left_out:,} samples without a label are left out"] if left_out else []
        scores = self.sample_scores(found)
        if not scores:
            return [Table(self.name, title, (), (), 0, notes=("no sample has a label", *notes))]
        samples = sum(len(one.videos) for one in found)
        rows = tuple(Row(name, kind, scores[0].figures(name)) for name, kind in _KINDS.items())
        columns = tuple(column for column in _COLUMNS if column.name in scores[0].columns)
        of_model = rows[0].values["accuracy"]
        beside = tuple((row.name, row.values["accuracy"]) for row in rows[1:])
        not_finite = sum(int((~np.isfinite(one.said)).any(1).sum()) for one in found)
        warning = f"{not_finite} answers of actions are not finite (NaN or infinite): they count as wrong"
        how = f"{self.settings.clips} evenly spaced sub-clips of each of {samples:,} samples, probabilities averaged"
        return [
            Table(
                self.name,
                title,
                columns,
                rows,
                len(scores[0].ids),
                notes=(f"videos are judged by {how}", *notes),
                warnings=(warning,) if not_finite else (),
                headlines=(Headline("actions told right", of_model or 0.0, "share", beside),),
                details={"left_out": left_out, "not_finite": not_finite},
            )
        ]

    def sample_scores(self, found: Sequence[Answers]) -> list[SampleScores]:
        """Of each video."""
        videos = np.array([video for one in found for video in one.videos], dtype=np.str_)
        if not len(videos):
            return []
        names, first, of_sample = np.unique(videos, return_index=True, return_inverse=True)
        there = np.concatenate([one.there for one in found])[first]
        means = {}
        for row, of_row in ((_MODEL, "said"), (_MIDDLE, "middle")):
            sums = np.zeros(there.shape)
            np.add.at(sums, of_sample, np.concatenate([getattr(one, of_row) for one in found]))
            means[row] = (sums / np.bincount(of_sample)[:, None]).astype(np.float32)
        means[_COMMONEST] = commonest(there[:, None])[:, 0]
        ids = names.tolist()
        return [SampleScores(self.name, ids, ids, {row: _figures(there, said) for row, said in means.items()})]


def _figures(there: Marks, said: Scores) -> Mapping[str, Statistic]:
    """By column, of videos [N, C]; answers that are no numbers are wrong."""
    told: dict[str, Statistic] = {"accuracy": Mean(right(there, said).astype(np.float64))}
    if there.shape[1] > _FIRST:
        finite = np.isfinite(said).all(-1, keepdims=True)
        among = np.argsort(-np.where(finite, said, 0), axis=1, kind="stable")[:, :_FIRST]
        first: Marks = np.any(np.take_along_axis(there, among, 1) & finite, axis=1)
        told["first"] = Mean(first.astype(np.float64))
    return told | {"balanced": balanced_accuracy(there, chosen(said, "one"), "one")}
