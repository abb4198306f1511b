"""The audio token: a network as VGGish over the whole spectrogram (paper 001, section 3.2)."""

from itertools import pairwise

from torch import Tensor, nn

from pipeline.models.recompute import Stages
from pipeline.models.tribert.settings import TribertSettings


class SpectrogramNetwork(nn.Module):
    """3×3 convolutions with ReLU, each of which halves both sides by max pooling, and a linear layer on all that is
    left."""

    def __init__(self, settings: TribertSettings, size: tuple[int, int]) -> None:
        """`size`: bins and times of the spectrogram."""
        super().__init__()
        channels = (1, *settings.sound_widths)
        self.features = Stages(
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
            for before, after in pairwise(channels)
        )
        halved = 2 ** len(settings.sound_widths)
        self.project = nn.Linear(channels[-1] * (size[0] // halved) * (size[1] // halved), settings.audio_width)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """[B, 1, F, T] → [B, D]"""
        return self.project(self.features(spectrogram).flatten(1))  # type: ignore[no-any-return]  # torch types a module's call as Any
