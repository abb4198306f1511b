"""Whether the model takes notice of where the keypoints are."""

from collections.abc import Sequence
from typing import Literal

import torch

from pipeline.evaluate.measures.contract import Column, Headline, Measure, Row, Table
from pipeline.evaluate.registry import MeasureSettings
from pipeline.evaluate.samples import Chunk, EvaluationSamples
from pipeline.models.contract import Inputs
from pipeline.train.load import Trained


class NoticeSettings(MeasureSettings):
    kind: Literal["notice"] = "notice"
    shift: float = 0.25
    """How far all keypoints are moved, of the picture's width."""


class Notice(Measure[list[tuple[bool, float]]]):
    """For each sample whether the model is surer of it as it is than with its keypoints moved, and by how much its
    score changes."""

    settings: NoticeSettings

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        if "corners" in samples.inputs and trained.system.task.scores:
            return None
        return "it needs an objective with a score and keypoints named corners"

    @torch.no_grad()
    def judge(self, chunk: Chunk) -> list[tuple[bool, float]]:
        inputs = chunk.shown.inputs
        moved = inputs | {"corners": inputs["corners"] + torch.tensor([self.settings.shift, 0.0])}
        change = self._scores(inputs) - self._scores(moved)
        return [(one > 0, abs(one)) for one in change.tolist()]

    def _scores(self, inputs: Inputs) -> torch.Tensor:
        system = self.judged.trained.system
        return system.task.score(system.model.fuse(system.model.embed(inputs)))

    def tables(self, found: Sequence[list[tuple[bool, float]]]) -> list[Table]:
        samples = [one for chunk in found for one in chunk]
        share = sum(surer for surer, _ in samples) / len(samples)
        change = sum(size for _, size in samples) / len(samples)
        rows = (
            Row("model", "model", {"surer": share, "change": change}),
            Row("guessing", "control", {"surer": 0.5, "change": None}),
        )
        columns = (Column("surer", "surer where they are"), Column("change", "change of the score", "number", None))
        headline = Headline("surer where keypoints are", share, "share", (("guessing", 0.5),))
        note = f"keypoints are moved by {self.settings.shift} of the width"
        return [Table("notice", "keypoints", columns, rows, len(samples), notes=(note,), headlines=(headline,))]
