"""A task's model and a batch of its inputs from settings alone: for counting, planning and dry runs."""

import torch
from torch import Tensor

from pipeline.models.gavt import Gavt
from pipeline.tasks.mma import Pairs, TaskModel
from pipeline.train.run_settings import RunSettings


def task_model(settings: RunSettings) -> TaskModel:
    """The model that is trained, on torch's default device, with whatever was in its memory for weights."""
    return TaskModel(Gavt(settings.model, settings.features))


def example_batch(
    settings: RunSettings, samples: int, device: torch.device | str | None = None
) -> tuple[Tensor, Tensor, Pairs]:
    """Noise in the shapes of a micro-batch: frames [B, T, 3, H, W] in 0–1, waveform [B, C, S] in −1..1 and pairs, of
    which every second is a match."""
    features = settings.features
    side = features.frame_size
    frames = torch.rand(samples, features.frames, 3, side, side, device=device)
    waveform = torch.rand(samples, features.audio_channels, features.audio_samples, device=device) * 2 - 1
    repeats = 2 if settings.task.pairs == "both" else 1
    sound = torch.arange(samples, device=device).repeat(repeats)
    match = torch.arange(samples * repeats, device=device) % 2
    counted = torch.ones_like(match, dtype=torch.bool)
    return frames, waveform, Pairs((sound + 1 - match) % samples, sound, match, counted)
