"""Which pixels the answer rests on, by gradients along a path from a blurred frame to the frame."""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.evaluate.blur import gaussian_blur
from pipeline.tasks.mma import TaskModel

_STEPS = 8
_BARE_SIGMA = 0.19
"""Blur of the frame that shows no objects, as a share of its side: what is smaller is gone."""
_OBJECT_SIGMA = 0.08
"""Blur of the map, as a share of its side: single pixels say little, their sum over an object much."""
_FINEST_GRID = 32


class IntegratedGradientsReadout:
    """Integrated gradients (Sundararajan, Taly and Yan 2017) of the match logit with respect to the frame's pixels,
    from the same frame strongly blurred; summed over colours and smoothed.

    A convolutional embedder may gather what it knows of an object in one token beside it. Maps over tokens then point
    past the object; going back to the pixels undoes that.
    """

    name = "integrated_gradients"

    @torch.enable_grad()
    def __call__(self, task_model: TaskModel, frames: Tensor, waveform: Tensor) -> Tensor:
        """Maps [B, g, g] with g at most 32, in logits; finer than the visual tokens."""
        side = frames.shape[-1]
        bare = gaussian_blur(frames.flatten(0, 1), _BARE_SIGMA * side).view_as(frames)
        total = torch.zeros_like(frames)
        for step in range(_STEPS):
            between = (bare + (frames - bare) * ((step + 0.5) / _STEPS)).requires_grad_()
            logit = task_model.match_logit(task_model.model.encode(between, waveform).tokens)
            (gradient,) = torch.autograd.grad(logit.sum(), between)
            total += gradient
        shares = ((frames - bare) * total / _STEPS)[:, frames.shape[1] // 2].sum(dim=1)
        smooth = gaussian_blur(shares[:, None], _OBJECT_SIGMA * side)
        return functional.adaptive_avg_pool2d(smooth, min(side, _FINEST_GRID))[:, 0]
