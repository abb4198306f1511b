"""Which visual tokens the answer rests on, by its gradient."""

import torch
from torch import Tensor

from pipeline.evaluate.readouts.probe import probe
from pipeline.evaluate.readouts.readout import on_visual_grid
from pipeline.tasks.mma import TaskModel


class TokenGradientReadout:
    """Visual token × gradient of the match logit, summed over the width: the first-order change of the logit when the
    token is taken away (gradient × input, Shrikumar et al. 2016)."""

    name = "token_gradient"

    def __call__(self, task_model: TaskModel, frames: Tensor, waveform: Tensor) -> Tensor:
        """Maps [B, h, w], in logits."""
        seen = probe(task_model, frames, waveform)
        (gradient,) = torch.autograd.grad(seen.match_logit.sum(), seen.embedded)
        visual = task_model.model.tokens.visual
        return on_visual_grid(task_model, (gradient * seen.embedded).detach()[:, visual].sum(2))
