"""Log-frequency spectrograms, batched on the model's device."""

import math

import torch
import torchaudio
from torch import Tensor

from pipeline.features.float32 import Float32Buffers
from pipeline.features.settings import FeatureSettings

WARP_BASE = 21.0
"""Base of the log-frequency warp of Sound of Pixels, which the papers share."""
AREA_POINTS = 32
"""Points averaged in each bin by the `area` warp."""


class LogFrequencySpectrogram(Float32Buffers):
    """Waveform [B, C, S] in −1..1 → log magnitude [B, C, F, T], lowest frequency first (G-AVT thesis, section 4.3).

    STFT with a Hann window, magnitudes, warp of the frequency axis from linear to logarithmic, logarithm. The result
    is shifted and scaled so that silence is −1 and a loud partial about 1.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("window", torch.empty(settings.stft_frame), persistent=False)
        frequencies = settings.stft_frame // 2 + 1
        self.register_buffer("warp", torch.empty(settings.frequency_bins, frequencies), persistent=False)
        self.reset_parameters()

    window: Tensor
    warp: Tensor

    def reset_parameters(self) -> None:
        """Fill the constant buffers (they are not part of a checkpoint)."""
        if self.window.is_meta:
            return
        settings = self.settings
        self.window.copy_(torch.hann_window(settings.stft_frame, dtype=torch.float64))
        self.warp.copy_(log_frequency_warp(self.warp.shape[1], settings.frequency_bins, settings.warp == "area"))

    def forward(self, waveform: Tensor) -> Tensor:
        return self.log(self.magnitude(waveform))

    def magnitude(self, waveform: Tensor) -> Tensor:
        """Waveform [B, C, S] → magnitudes [B, C, F, T] before their logarithm."""
        settings = self.settings
        magnitude = torchaudio.functional.spectrogram(
            waveform.float(),
            pad=0,
            window=self.window,
            n_fft=settings.stft_frame,
            hop_length=settings.stft_hop,
            win_length=settings.stft_frame,
            power=1.0,
            normalized=False,
            center=True,
            pad_mode="reflect",
        )
        return torch.matmul(self.warp, magnitude)

    def log(self, magnitude: Tensor) -> Tensor:
        """The logarithm of magnitudes, shifted and scaled."""
        floor = math.log(self.settings.log_floor)
        return (torch.log(magnitude + self.settings.log_floor) - floor) / (-floor) - 1.0


def log_frequency_warp(frequencies: int, bins: int, area: bool) -> Tensor:
    """Matrix [bins, frequencies] that resamples a linear frequency axis logarithmically.

    Bin y in −1..1 reads the frequency `(21^((y+1)/2) − 11) / 10` of the same range, by linear interpolation
    (Sound of Pixels; equals bilinear grid sampling with aligned corners).
    """
    points = AREA_POINTS if area else 1
    centre = torch.linspace(-1, 1, bins, dtype=torch.float64)
    offset = (torch.arange(points, dtype=torch.float64) + 0.5) / points - 0.5
    y = (centre[:, None] + offset * 2 / (bins - 1)).clamp(-1, 1)
    source = (WARP_BASE ** ((y + 1) / 2) - 11) / 10
    index = ((source + 1) / 2 * (frequencies - 1)).clamp(0, frequencies - 1)
    below = index.floor().long().clamp(max=frequencies - 2)
    weight = index - below
    matrix = torch.zeros(bins, frequencies, dtype=torch.float64)
    matrix.scatter_add_(1, below, (1 - weight) / points)
    matrix.scatter_add_(1, below + 1, weight / points)
    return matrix
