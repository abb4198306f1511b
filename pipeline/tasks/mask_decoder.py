"""From a mixture's spectrogram and tokens to channels of its size: a small U-Net."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.norms import norm_layer
from pipeline.models.settings import Norm


class MaskDecoder(nn.Module):
    """Convolutions halve the mixture's spectrogram, tokens are added where it is smallest, and transposed convolutions
    double it again beside what was there on the way down (U-Net, as of Sound of Pixels).

    All kernels are 4×4 with stride 2, which keep centres.
    """

    def __init__(self, widths: Sequence[int], token_width: int, channels: int, norm: Norm) -> None:
        """`channels` of the result."""
        super().__init__()
        layer = norm_layer(norm)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        before = 1
        for width in widths:
            convolution = nn.Conv2d(before, width, 4, 2, 1, bias=False)
            self.down.append(nn.Sequential(convolution, layer(width), nn.GELU()))
            before = width
        self.tokens = nn.Conv2d(token_width, before, 1)
        for width in reversed(widths[:-1]):
            transposed = nn.ConvTranspose2d(before, width, 4, 2, 1, bias=False)
            self.up.append(nn.Sequential(transposed, layer(width), nn.GELU()))
            before = 2 * width
        self.out = nn.ConvTranspose2d(before, channels, 4, 2, 1)

    def forward(self, spectrogram: Tensor, tokens: Tensor) -> Tensor:
        """
        Args:
            spectrogram: log magnitudes [B, 1, F, T].
            tokens: [B, D, f, t], on any grid over the same sound.

        Returns:
            [B, channels, F, T]
        """
        frequencies, times = spectrogram.shape[-2:]
        features = padded(spectrogram, 2 ** len(self.down))
        finer: list[Tensor] = []
        for stage in self.down:
            finer.append(features)
            features = stage(features)
        projected = self.tokens(tokens)
        features = features + F.interpolate(projected, size=features.shape[-2:], mode="bilinear", align_corners=False)
        for stage, beside in zip(self.up, reversed(finer[1:]), strict=True):
            features = torch.cat([stage(features), beside], dim=1)
        found: Tensor = self.out(features)
        return found[..., :frequencies, :times]


def padded(spectrogram: Tensor, multiple: int) -> Tensor:
    """Spectrograms […, F, T] whose last bins and times are repeated up to multiples of a number."""
    frequencies, times = spectrogram.shape[-2:]
    padding = (0, -times % multiple, 0, -frequencies % multiple)
    return F.pad(spectrogram, padding, mode="replicate") if any(padding) else spectrogram
