"""Norms of convolutional embedders, a file each."""

from pipeline.models.norms.batch import BatchNorm2d
from pipeline.models.norms.frozen import FrozenBatchNorm2d
from pipeline.models.norms.layer import norm_layer

__all__ = ["BatchNorm2d", "FrozenBatchNorm2d", "norm_layer"]
