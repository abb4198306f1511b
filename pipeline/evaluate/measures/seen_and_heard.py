"""What is seen and what is heard in each segment, told apart by heads of the model's single streams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from pipeline.evaluate.measures.classification import Marks, Scores, balanced_accuracy, chosen, commonest
from pipeline.evaluate.measures.contract import Column, Headline, Judged, Measure, Row, Table
from pipeline.evaluate.metrics.statistics import MeanAveragePrecision
from pipeline.evaluate.readouts.needs import needs_objective
from pipeline.evaluate.registry import MeasureSettings
from pipeline.evaluate.samples import Chunk, EvaluationSamples
from pipeline.tasks.events import Events, apart_labels
from pipeline.tasks.events_settings import APART
from pipeline.tasks.task import objective
from pipeline.train.load import Trained


@dataclass(frozen=True)
class Apart:
    """What was told of the samples of a chunk that say what is seen, or heard.

    Attributes:
        there: [N, T, C] by `seen` and `heard`.
        scores: likewise, above 0 where a class is said to be there.
    """

    there: Mapping[str, Marks]
    scores: Mapping[str, Scores]


class SeenAndHeard(Measure[Apart]):
    """A row each, beside who says the same of all segments."""

    name: ClassVar[str] = "seen_and_heard"
    columns: ClassVar[tuple[Column, ...]] = (Column("balanced", "balanced accuracy"), Column("mean_precision", "mAP"))

    def __init__(self, settings: MeasureSettings, judged: Judged) -> None:
        super().__init__(settings, judged)
        task = objective(judged.trained.system.task, Events)
        assert task is not None  # else there is a reason against it
        self._task = task

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs heads that tell it."""
        reason = needs_objective(trained.system, Events, "events")
        task = objective(trained.system.task, Events)
        return reason if task is None or task.apart else "it needs heads of what is seen and heard, task.apart_weight"

    @torch.no_grad()
    def judge(self, chunk: Chunk) -> Apart:
        """Answers to the samples of a chunk that say it."""
        settings, batches = self._task.settings, chunk.shown.pieces(self.judged.settings.batch_size)
        model, marks = self.judged.trained.system.model, [apart_labels(one, settings) for one in chunk.shown.metadata]
        told = [self._task.tell_apart(model.embed(chunk.shown.select(places).inputs)) for places in batches]
        there, scores = {}, {}
        for name in APART:
            known = [place for place, one in enumerate(marks) if one[name] is not None]
            shape = (-1, settings.segments, len(settings.classes))
            there[name] = np.array([marks[place][name] for place in known], dtype=bool).reshape(shape)
            scores[name] = torch.cat([one[name] for one in told]).float().cpu().numpy()[known]
        return Apart(there, scores)

    def tables(self, found: Sequence[Apart]) -> list[Table]:
        """One."""
        rows, classes, most = [], self._task.settings.classes, 0
        for name in APART:
            there = np.concatenate([one.there[name] for one in found])
            scores = np.concatenate([one.scores[name] for one in found])
            if len(there):
                rows.append(Row(name, "model", _figures(there, scores)))
                rows.append(Row(f"{name}: the same of all segments", "control", _figures(there, commonest(there))))
            most = max(most, len(there))
        title = f"{len(classes)} classes, what is seen and what is heard in each segment"
        if not rows:
            nothing = ("no sample says what is seen or heard in its segments",)
            return [Table(self.name, title, (), (), 0, notes=nothing)]
        value = rows[0].values["balanced"]
        assert value is not None
        beside = tuple((row.name, row.values["balanced"]) for row in rows[1:])
        headline = Headline(f"{rows[0].name} told right (balanced)", value, "share", beside)
        return [Table(self.name, title, self.columns, tuple(rows), most, headlines=(headline,))]


def _figures(there: Marks, scores: Scores) -> dict[str, float | None]:
    truth, ranked = there.reshape(-1, there.shape[-1]), scores.reshape(-1, scores.shape[-1])
    told = {
        "balanced": balanced_accuracy(truth, chosen(ranked, "several"), "several"),
        "mean_precision": MeanAveragePrecision(ranked.T, truth.T),
    }
    return {name: figure.value for name, figure in told.items()}
