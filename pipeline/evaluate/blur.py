"""Gaussian blur of images and maps."""

import torch
from torch import Tensor
from torch.nn import functional


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Blur [B, C, H, W] with a standard deviation of `sigma` pixels, the border repeated."""
    channels = images.shape[1]
    radius = max(int(3 * sigma + 0.5), 1)
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).repeat(channels, 1, 1, 1)
    padded = functional.pad(images, (radius, radius, radius, radius), mode="replicate")
    along_rows = functional.conv2d(padded, kernel, groups=channels)
    return functional.conv2d(along_rows, kernel.transpose(2, 3), groups=channels)
