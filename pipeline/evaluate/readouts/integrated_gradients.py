"""Which region of visual tokens the answer rests on, by gradients along a path."""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.evaluate.readouts.readout import on_visual_grid
from pipeline.tasks.mma import TaskModel

_STEPS = 8


class IntegratedGradientsReadout:
    """Integrated gradients (Sundararajan, Taly and Yan 2017) of the match logit over the visual tokens, from their
    mean, a frame that looks the same everywhere; summed over the 3×3 tokens around each, since convolutions spread an
    object over its neighbours. Says much of what leaving regions out says, at an eighth of the passes."""

    name = "integrated_gradients"

    @torch.enable_grad()
    def __call__(self, task_model: TaskModel, frames: Tensor, waveform: Tensor) -> Tensor:
        """Maps [B, h, w], in logits."""
        visual = task_model.model.tokens.visual
        with torch.no_grad():
            embedded = task_model.model.embed(frames, waveform)
            bare = embedded.clone()
            bare[:, visual] = embedded[:, visual].mean(1, keepdim=True)
        total = torch.zeros_like(embedded)
        for step in range(_STEPS):
            between = (bare + (embedded - bare) * (step + 0.5) / _STEPS).requires_grad_()
            tokens, _ = task_model.model.encoder(between)
            (gradient,) = torch.autograd.grad(task_model.match_logit(tokens).sum(), between)
            total += gradient
        shares = ((embedded - bare) * total / _STEPS)[:, visual].sum(2)
        maps = on_visual_grid(task_model, shares)
        return functional.avg_pool2d(maps[:, None], 3, stride=1, padding=1)[:, 0] * 9
