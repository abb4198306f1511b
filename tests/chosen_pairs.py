"""Targets of multi-modal alignment for pairs that a test chooses."""

from collections.abc import Sequence

import torch

from pipeline.models.contract import AudioVisualModel
from pipeline.tasks.ceiling import CeilingCounts
from pipeline.tasks.mma import MultiModalAlignment
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.tasks.task import System, Targets


def targets_of(
    frame: Sequence[int], sound: Sequence[int], match: Sequence[int], counted: Sequence[bool] | None = None
) -> Targets:
    """Each pair's frame, sound, whether they belong together, and whether it counts; all do unless that is given."""
    return {
        "frame": torch.tensor(frame),
        "sound": torch.tensor(sound),
        "match": torch.tensor(match),
        "counted": torch.tensor([True] * len(match) if counted is None else counted),
        "known": torch.zeros(1 + len(CeilingCounts.names()), dtype=torch.float64),
    }


def aligned(model: AudioVisualModel) -> System:
    """A model under multi-modal alignment; torch's generator draws the head's weights."""
    return System(model, MultiModalAlignment(MmaSettings(), model), ("frames", "sound"))
