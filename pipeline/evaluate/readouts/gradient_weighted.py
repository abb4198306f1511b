"""Attention weighted by the gradient of the answer, rolled out over the layers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.evaluate.readouts.probe import probe
from pipeline.evaluate.readouts.readout import on_visual_grid
from pipeline.tasks.mma import TaskModel


class GradientWeightedReadout:
    """The relevance of each visual token for the match logit (Chefer, Gur and Wolf, "Generic Attention-model
    Explainability", 2021, Eq. 5 and 6 with one sequence of tokens)."""

    name = "gradient_weighted"

    def __call__(self, task_model: TaskModel, frames: Tensor, waveform: Tensor) -> Tensor:
        """Maps [B, h, w]; zero where nothing speaks for a match."""
        seen = probe(task_model, frames, waveform)
        gradients = torch.autograd.grad(seen.match_logit.sum(), seen.attention)
        relevance = rollout([attention.detach() for attention in seen.attention], gradients)
        layout = task_model.model.tokens
        return on_visual_grid(task_model, relevance[:, 0, layout.visual])


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
