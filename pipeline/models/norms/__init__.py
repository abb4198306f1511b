"""Norms of convolutional embedders, a file each."""

from pipeline.models.norms.batch import BatchNorm2d
from pipeline.models.norms.frozen import FrozenBatchNorm2d
from pipeline.models.norms.layer import norm_layer
from pipeline.models.norms.sync_batch import SyncBatchNorm2d

__all__ = ["BatchNorm2d", "FrozenBatchNorm2d", "SyncBatchNorm2d", "norm_layer"]
