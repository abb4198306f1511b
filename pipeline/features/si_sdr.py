"""How well a sound was separated, blind to its loudness."""

import torch
from torch import Tensor


def si_sdr(estimate: Tensor, truth: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, without their removal of the mean).

    Args:
        estimate, truth: […, S]; what is silent in either gives a very low ratio, but a finite one.

    Returns:
        […]
    """
    smallest = torch.finfo(truth.dtype).tiny
    scale = (estimate * truth).sum(-1, keepdim=True) / truth.square().sum(-1, keepdim=True).clamp(min=smallest)
    part = scale * truth
    signal, distortion = part.square().sum(-1), (estimate - part).square().sum(-1)
    return 10 * torch.log10(signal.clamp(min=smallest) / distortion.clamp(min=smallest))
