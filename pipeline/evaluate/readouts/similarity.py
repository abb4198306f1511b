"""How like each place of the frame is to the sound, where a model learnt to compare them."""

import torch
from torch import Tensor

from pipeline.evaluate.readouts.needs import needs_objective, needs_visual_grid
from pipeline.evaluate.readouts.readout import Readout, on_visual_grid
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.contract import Inputs
from pipeline.tasks.dense_contrastive import DenseContrastive
from pipeline.tasks.task import System, objective


class SimilarityReadout(Readout):
    """The similarity of each visual token with the sound, the mean over its audio tokens: no maximum but that over
    heads, no gradient, and only the embedders are run (DenseAV)."""

    name = "similarity"
    cost = "1 forward"

    @classmethod
    def of(cls, name: str, settings: EvaluateSettings) -> Readout:
        return cls()

    def reason_against(self, system: System) -> str | None:
        reason = needs_objective(system, DenseContrastive, "dense contrastive learning")
        return reason or needs_visual_grid(system)

    @torch.no_grad()
    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w] in −1..1."""
        task = objective(system.task, DenseContrastive)
        if task is None:
            raise TypeError("expected a system that was trained by dense contrastive learning, found none")
        return on_visual_grid(system.model, task.similarity(system.model.embed(inputs)))
