"""Norms by the names that settings give them."""

from collections.abc import Callable
from math import gcd
from typing import Literal

from torch import nn

from pipeline.models.norms.batch import BatchNorm2d
from pipeline.models.norms.frozen import FrozenBatchNorm2d
from pipeline.models.settings import GROUPS, Norm


def norm_layer(norm: Literal[Norm, "frozen"]) -> Callable[[int], nn.Module]:
    """What makes a norm over that many channels."""
    if norm == "sync_batch":
        from pipeline.models.norms.sync_batch import SyncBatchNorm2d  # with torch's compiler, a second and 140 MB

        return SyncBatchNorm2d
    layers: dict[str, Callable[[int], nn.Module]] = {
        "batch": BatchNorm2d,
        "group": _group_norm,
        "frozen": FrozenBatchNorm2d,
    }
    return layers[norm]


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(gcd(GROUPS, channels), channels)
