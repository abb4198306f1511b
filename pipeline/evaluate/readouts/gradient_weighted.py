"""Attention weighted by the gradient of the answer, rolled out over the layers."""

import torch
from torch import Tensor

from pipeline.evaluate.readouts.needs import needs_joint_attention, needs_score, needs_visual_grid
from pipeline.evaluate.readouts.probe import probe
from pipeline.evaluate.readouts.readout import Readout, on_visual_grid
from pipeline.evaluate.readouts.rollout import joint_layers, relevance
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.contract import CLASS, VISUAL, Inputs
from pipeline.tasks.task import System


class GradientWeightedReadout(Readout):
    """The relevance of each visual token for the match logit (Chefer, Gur and Wolf 2021)."""

    name = "gradient_weighted"
    cost = "1 forward, 1 backward"

    @classmethod
    def of(cls, name: str, settings: EvaluateSettings) -> Readout:
        return cls()

    def reason_against(self, system: System) -> str | None:
        return needs_score(system) or needs_visual_grid(system) or needs_joint_attention(system)

    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w]; zero where nothing speaks for a match."""
        seen = probe(system, inputs, attention=True)
        layers, where = joint_layers(seen.attention)
        gradients = torch.autograd.grad(seen.score.sum(), [layer.weights.watched for layer in layers])
        found = relevance(layers, gradients, where[CLASS].start)
        return on_visual_grid(system.model, found[:, where[VISUAL]])
