"""Which visual tokens the answer rests on, by its gradient."""

import torch
from torch import Tensor

from pipeline.evaluate.readouts.needs import needs_score, needs_visual_grid
from pipeline.evaluate.readouts.probe import probe
from pipeline.evaluate.readouts.readout import Readout, on_visual_grid
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.contract import VISUAL, Inputs
from pipeline.tasks.task import System


class TokenGradientReadout(Readout):
    """Visual token × gradient of the match logit, summed over the width: the first-order change of the logit when the
    token is taken away (gradient × input, Shrikumar et al. 2016)."""

    name = "token_gradient"
    cost = "1 forward, 1 backward"

    @classmethod
    def of(cls, name: str, settings: EvaluateSettings) -> Readout:
        return cls()

    def reason_against(self, system: System) -> str | None:
        return needs_score(system) or needs_visual_grid(system)

    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w], in logits."""
        seen = probe(system, inputs)
        visual = seen.placed[VISUAL]
        (gradient,) = torch.autograd.grad(seen.score.sum(), visual)
        return on_visual_grid(system.model, (gradient * visual).detach().sum(2))
