"""Attention weighted by the gradient of the answer, rolled out over the layers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.evaluate.readouts.needs import needs_joint_attention, needs_score, needs_visual_grid
from pipeline.evaluate.readouts.probe import joint_attention, probe
from pipeline.evaluate.readouts.readout import Readout, on_visual_grid
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.contract import VISUAL, Inputs
from pipeline.tasks.task import System


class GradientWeightedReadout(Readout):
    """The relevance of each visual token for the match logit (Chefer, Gur and Wolf, "Generic Attention-model
    Explainability", 2021, Eq. 5 and 6 with one sequence of tokens)."""

    name = "gradient_weighted"
    cost = "1 forward, 1 backward"

    @classmethod
    def of(cls, name: str, settings: EvaluateSettings) -> Readout:
        return cls()

    def reason_against(self, system: System) -> str | None:
        return needs_score(system) or needs_visual_grid(system) or needs_joint_attention(system)

    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w]; zero where nothing speaks for a match."""
        seen = probe(system, inputs)
        layers, where = joint_attention(seen.attention)
        gradients = torch.autograd.grad(seen.score.sum(), layers)
        relevance = rollout([attention.detach() for attention in layers], gradients)
        return on_visual_grid(system.model, relevance[:, where["class"].start, where[VISUAL]])


def rollout(attention: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Relevance [B, N, N] of each token (columns) for each output (rows).

    From R = 1, each layer adds `Ā R` with `Ā` the mean over heads of the positive part of gradient × attention.

    Args:
        attention: for each layer [B, heads, N, N].
        gradients: of the answer with respect to them, same shapes.
    """
    batch, _, count, _ = attention[0].shape
    relevance = torch.eye(count, device=attention[0].device).expand(batch, -1, -1)
    for weights, gradient in zip(attention, gradients, strict=True):
        weighted = (gradient * weights).clamp(min=0).mean(1)
        relevance = relevance + weighted @ relevance
    return relevance
