"""How much each segment of a modality counts (SWAB, section 3.4 of paper 002)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SegmentAttention(nn.Module):
    """Segments beside what is pooled of all of them (Eq. 9–11)."""

    def __init__(self, width: int, pooled: str) -> None:
        """`pooled`: `mean`, `max` or `mean_and_max`."""
        super().__init__()
        self.pooled = pooled
        self.of_all = nn.Linear(width, width)
        self.of_each = nn.Linear(width, width)
        self.weigh = nn.Linear(width, 1)

    def forward(self, segments: Tensor) -> Tensor:
        """[B, T, D] → the same, each times its weight; weights add up to 1 over T."""
        return segments * self.weights(segments)

    def weights(self, segments: Tensor) -> Tensor:
        """[B, T, 1]"""
        pools = {"mean": segments.mean(1), "max": segments.amax(1)}
        wanted = [F.relu(self.of_all(pool)) for name, pool in pools.items() if name in self.pooled]
        together = torch.stack(wanted).sum(0)
        beside = F.relu(self.of_each(segments)) * together[:, None]
        weights: Tensor = self.weigh(beside).softmax(1)
        return weights
