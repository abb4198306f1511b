"""Which visual tokens the answer rests on, by its gradient."""

import torch
from torch import Tensor

from pipeline.evaluate.readouts.probe import probe
from pipeline.evaluate.readouts.readout import on_visual_grid
from pipeline.models.contract import VISUAL, Inputs
from pipeline.tasks.task import System


class TokenGradientReadout:
    """Visual token × gradient of the match logit, summed over the width: the first-order change of the logit when the
    token is taken away (gradient × input, Shrikumar et al. 2016)."""

    name = "token_gradient"

    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w], in logits."""
        seen = probe(system, inputs)
        visual = seen.placed[VISUAL]
        (gradient,) = torch.autograd.grad(seen.score.sum(), visual)
        return on_visual_grid(system.model, (gradient * visual).detach().sum(2))
