"""Waveforms and clips to features (paper 003, section 3.1): convolutions over time, and over time and place."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.co_attention.settings import CoAttentionSettings
from pipeline.models.recompute import Stages
from pipeline.models.repeatable import AverageOfFrames
from pipeline.models.settings import GROUPS

_LONG, _SHORT, _LAST = 65, 15, 3
_STRIDE, _LAST_POOL = 4, 3


def _over_time(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution over the first axis of [B, C, S, 1]."""
    return nn.Conv2d(inputs, outputs, (kernel, 1), (stride, 1), (kernel // 2, 0), bias=False)


class ResidualPair(nn.Module):
    """Two convolutions over time, the first with a stride, beside a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = _over_time(inputs, outputs, _SHORT, _STRIDE)
        self.first_norm = nn.GroupNorm(GROUPS, outputs)
        self.second = _over_time(outputs, outputs, _SHORT)
        self.second_norm = nn.GroupNorm(GROUPS, outputs)
        self.downsample = _over_time(inputs, outputs, 1, _STRIDE)

    def forward(self, input: Tensor) -> Tensor:
        inner = F.relu(self.first_norm(self.first(input)))
        return F.relu(self.second_norm(self.second(inner)) + self.downsample(input))


class WaveformEncoder(Stages):
    """Waveforms [B, C, S, 1] → features [B, D, T, 1], one each 768 samples."""

    def __init__(self, settings: CoAttentionSettings, channels: int) -> None:
        first, second, third, last = settings.sound_widths
        super().__init__(
            (
                nn.Sequential(
                    _over_time(channels, first, _LONG, _STRIDE),
                    nn.GroupNorm(GROUPS, first),
                    nn.ReLU(),
                    nn.MaxPool2d((_STRIDE, 1)),
                ),
                ResidualPair(first, second),
                ResidualPair(second, third),
                nn.Sequential(
                    nn.MaxPool2d((_LAST_POOL, 1)),
                    _over_time(third, last, _LAST),
                    nn.GroupNorm(GROUPS, last),
                    nn.ReLU(),
                    nn.Conv2d(last, settings.width, 1),
                ),
            )
        )


class ClipEncoder(Stages):
    """Clips [B, 3, T, H, W], or what of them is `shown` → features [B, D, t, h, w]."""

    def __init__(self, settings: CoAttentionSettings) -> None:
        width, sides = settings.frame_width, settings.frame_kernel
        padding = (sides[0] // 2, sides[1] // 2, sides[2] // 2)
        first = nn.Sequential(
            nn.Conv3d(settings.channels, width, sides, padding=padding, bias=False),
            nn.GroupNorm(GROUPS, width),
            nn.ReLU(),
            AverageOfFrames((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        rest = (
            nn.Sequential(
                nn.Conv3d(width, width, 3, (time, place, place), 1, bias=False), nn.GroupNorm(GROUPS, width), nn.ReLU()
            )
            for time, place in settings.frame_strides
        )
        super().__init__((first, *rest, nn.Conv3d(width, settings.width, 1)))


def shown_of(clip: Tensor, settings: CoAttentionSettings) -> Tensor:
    """What of clips [B, 3, T, H, W] is shown, [B, channels, T, H, W]."""
    if settings.shown == "frames":
        return clip
    differences = clip.diff(dim=2, prepend=clip[:, :, :1])
    return differences if settings.shown == "differences" else torch.cat([clip, differences], 1)


def lengths_of(encoder: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The lengths of the axes of an encoder's features behind channels, for an input [C, …]; models are built on the
    meta device, so nothing is computed."""
    with torch.no_grad(), torch.device("meta"):
        found: Tensor = encoder(torch.empty(1, *input_shape))
    return tuple(found.shape[2:])
