"""Frames that a sound does not belong to, chosen on the device among those of a group or of all processes.

Nothing in it has a shape that hangs on values, nor a gradient through the choice.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def may_be_shown(scenes: Tensor, others: Tensor) -> Tensor:
    """[B, M]: whether two samples are of different scenes.

    Args:
        scenes, others: [B, 3] and [M, 3], as of `pairing.scene_numbers`.
    """
    return ~((scenes[:, None] == others) & (others != 0)).any(2)


def drawn_among(allowed: Tensor, positions: Tensor, draws: Tensor) -> Tensor:
    """[B] which of the M candidates each draws: one of those that it is allowed, all equally likely; any where it is
    allowed none. It hangs on which positions there are, not on their order or on who holds them.

    Args:
        allowed: [B, M].
        positions: [M] of the candidates.
        draws: [B] in 0–1.
    """
    order = positions.argsort()
    counted = allowed[:, order].cumsum(1)
    wanted = (draws * counted[:, -1]).long() + 1
    return order[(counted >= wanted[:, None]).int().argmax(1)]


def nearest_among(
    pooled: Tensor, means: Tensor, allowed: Tensor, first: int, skip_above: float
) -> tuple[Tensor, Tensor]:
    """[B] which of the M candidates is most alike, and whether there is one: hard negatives (UNITER, Chen et al. 2020;
    ALBEF, Li et al. 2021), here by the cosine between what the model's own tokens are on average.

    Args:
        pooled: [M, D] of all candidates; from row `first` on lie those that search, B of them.
        means: [M or 1, D] of those that each is compared with, which is taken away first: what all have in common makes
            none of them alike.
        allowed: [B, M].
        skip_above: candidates that are more alike are taken for the same thing once more, and passed over.
    """
    centred = F.normalize(pooled - means, dim=1)
    alike = centred[first : first + len(allowed)] @ centred.T
    fitting = allowed & (alike <= skip_above)
    return alike.masked_fill(~fitting, -torch.inf).argmax(1), fitting.any(1)
