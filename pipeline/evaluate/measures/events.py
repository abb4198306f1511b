"""Audio-visual events: the class of each segment of a video, or that nothing happens in it (AVE, Tian et al. 2018)."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from pipeline.evaluate.measures.classification import Labels, Marks, Scores, right, tells_background
from pipeline.evaluate.measures.contract import Column, RowKind
from pipeline.evaluate.metrics.statistics import Mean, Statistic
from pipeline.evaluate.readouts.needs import needs_objective
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.tasks.classification import Classification
from pipeline.train.load import Trained

WHOLE = "one class for the whole video"


class Events(Labels):
    """Segment accuracy as AVE has it, the arg-max over all classes and background of each segment of each video; of
    segments with an event and of others apart, beside who knows the video's class and not when it happens."""

    name: ClassVar[str] = "events"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("accuracy", "segments told right"),
        Column("foreground", "of those with an event"),
        Column("background", "of the background"),
        Column("balanced", "balanced accuracy"),
    )
    about: ClassVar[str] = (
        f"{WHOLE} is an oracle: it says the true class of the video of all its segments, so it is right in each that "
        "has an event and in none of the background. A model below it has not shown that it knows when something "
        "happens. Balanced accuracy is the mean over classes, background among them."
    )

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs a head of segments with a background."""
        reason = needs_objective(trained.system, Classification, "classification")
        if reason is None and not tells_background(trained):
            reason = "it needs a head that tells segments, with task.segments and task.labels=one"
        return reason

    def _said(self, there: Marks, scores: Scores) -> dict[tuple[str, RowKind], Scores]:
        return super()._said(there, scores) | {(WHOLE, "control"): _of_whole(there)}

    def _counted(self, there: Marks) -> tuple[str, ...]:
        background = int(there[..., -1].sum())
        segments = there.shape[0] * there.shape[1]
        return (f"of {segments:,} segments {segments - background:,} have an event, {background:,} are background",)

    def _figures(self, truth: Marks, ranked: Scores) -> Mapping[str, Statistic]:
        told, outside = right(truth, ranked).astype(np.float64), truth[:, -1]
        found = super()._figures(truth, ranked)
        return {
            "accuracy": found["accuracy"],
            "foreground": Mean(np.where(outside, np.nan, told)),
            "background": Mean(np.where(outside, told, np.nan)),
            "balanced": found["balanced"],
        }


def _of_whole(there: Marks) -> Scores:
    """Of each segment the class that most segments of its video with an event have; background where none has."""
    counts = there.sum(1, keepdims=True).astype(np.float32)
    counts[..., -1] = 0.5  # any event before background
    return np.broadcast_to(counts, there.shape)
