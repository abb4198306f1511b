"""What each place adds to the answer, behind all layers in which it is looked at."""

import torch
from torch import Tensor

from pipeline.evaluate.readouts.needs import needs_score, needs_visual_grid
from pipeline.evaluate.readouts.readout import Readout
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.contract import VISUAL, Inputs, Tokens
from pipeline.tasks.task import System


class ClassActivationReadout(Readout):
    """The class activation map (Zhou et al. 2016; paper 003, section 4), of models whose answer is made of the mean of
    their visual tokens, or of the highest of each feature: each token as it leaves the encoder × gradient of the match
    logit, summed over the width. What lies between that and the logit is one layer there and its weights; of more
    layers the gradient stands for them (Selvaraju et al. 2017). Of a clip it is the mean over its time, as the answer
    is about all of it."""

    name = "class_activation"
    cost = "1 forward, 1 backward"

    @classmethod
    def of(cls, name: str, settings: EvaluateSettings) -> Readout:
        return cls()

    def reason_against(self, system: System) -> str | None:
        reason = needs_score(system) or needs_visual_grid(system)
        if reason is not None:
            return reason
        model, like = system.model, next(system.model.parameters())
        placed = {name: like.new_zeros(1, grid.count, model.widths[name]) for name, grid in model.grids.items()}
        return None if _activation(system, placed) is not None else "its answer is not made of encoded visual tokens"

    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w], in logits."""
        with torch.no_grad():
            placed = system.model.place(system.model.embed(inputs))
        found = _activation(system, placed)
        assert found is not None  # else there is a reason against it
        return system.model.grids[VISUAL].laid_out(found).mean(1)


@torch.enable_grad()
def _activation(system: System, placed: Tokens) -> Tensor | None:
    """[B, N] of the visual tokens, from tokens as they enter the encoder; None where the answer isn't made of them."""
    encoded = system.model.encode({name: tokens.detach().requires_grad_() for name, tokens in placed.items()})
    visual = encoded.tokens[VISUAL]
    (gradient,) = torch.autograd.grad(system.task.score(encoded).sum(), visual, allow_unused=True)
    return None if gradient is None else (gradient * visual).detach().sum(2)
