"""Image saliency: what stands out of the frame, whatever is heard. Published methods that need no training."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.evaluate.blur import gaussian_blur
from pipeline.evaluate.settings import SaliencyName

_SPECTRAL_SIZE = 64
_LUMA = (0.299, 0.587, 0.114)


def saliency(name: SaliencyName, frames: Tensor) -> Tensor:
    """Saliency maps [B, H, W] of frames [B, 3, H, W] in 0–1 (spectral residual: [B, 64, 64])."""
    return _METHODS[name](frames)


def spectral_residual(frames: Tensor) -> Tensor:
    """What is left of the log spectrum without its local mean, back in the image (Hou and Zhang 2007), at 64×64."""
    gray = (frames * torch.tensor(_LUMA).to(frames).view(1, 3, 1, 1)).sum(1, keepdim=True)
    small = functional.interpolate(gray, size=(_SPECTRAL_SIZE, _SPECTRAL_SIZE), mode="bilinear", antialias=True)
    spectrum = torch.fft.fft2(small)
    log_amplitude = torch.log(spectrum.abs() + 1e-8)
    mean = functional.avg_pool2d(functional.pad(log_amplitude, (1, 1, 1, 1), mode="circular"), 3, stride=1)
    residual = torch.polar(torch.exp(log_amplitude - mean), spectrum.angle())
    return gaussian_blur(torch.fft.ifft2(residual).abs().square(), 2.5)[:, 0]


def frequency_tuned(frames: Tensor) -> Tensor:
    """Distance in CIE Lab between each slightly blurred pixel and the image's mean (Achanta et al. 2009)."""
    lab = _lab(frames)
    blurred = gaussian_blur(lab, frames.shape[-1] / 64)
    return (blurred - lab.mean((2, 3), keepdim=True)).square().sum(1).sqrt()


def centre_surround(frames: Tensor) -> Tensor:
    """Differences between a place and its surround in lightness and the two colour opponents of CIE Lab, over three
    scales (Itti, Koch and Niebur 1998, with differences of Gaussians in place of its pyramid)."""
    lab = _lab(frames)
    total = torch.zeros_like(lab[:, 0])
    for scale in (1, 2, 4):
        sigma = scale * frames.shape[-1] / 64
        total = total + (gaussian_blur(lab, sigma) - gaussian_blur(lab, 4 * sigma)).square().sum(1).sqrt()
    return total


def _lab(frames: Tensor) -> Tensor:
    """sRGB in 0–1 [B, 3, H, W] → CIE Lab (D65)."""
    linear = torch.where(frames <= 0.04045, frames / 12.92, ((frames + 0.055) / 1.055).pow(2.4))
    to_xyz = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).to(frames)
    white = torch.tensor([0.9505, 1.0, 1.089]).to(frames).view(1, 3, 1, 1)
    xyz = torch.einsum("ij,bjhw->bihw", to_xyz, linear) / white
    delta = 6 / 29
    f = torch.where(xyz > delta**3, xyz.clamp(min=1e-9).pow(1 / 3), xyz / (3 * delta**2) + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


_METHODS: dict[SaliencyName, Callable[[Tensor], Tensor]] = {
    "spectral_residual": spectral_residual,
    "frequency_tuned": frequency_tuned,
    "centre_surround": centre_surround,
}
