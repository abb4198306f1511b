"""Augmentations, batched on the device; every draw is keyed by the sample's position, so it is the same on any rank."""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.features.draws import DRAWS

_LUMA = (0.299, 0.587, 0.114)
_RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


@dataclass(frozen=True)
class AugmentDraws:
    """What was drawn for each sample of a batch; every field is [B]."""

    angle_rad: Tensor
    width: Tensor
    """Width of the crop as a share of the (rotated and fitted) image."""
    height: Tensor
    x: Tensor
    """Place of the crop in what is left of the image, 0–1."""
    y: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue_turns: Tensor
    volume: Tensor
    mirror: Tensor
    """−1 where left and right are changed, else 1."""

    @staticmethod
    def of(draws: Tensor) -> "AugmentDraws":
        """From what was drawn for each sample: numbers [B, 11] in the order of `pipeline.features.draws.DRAWS`."""
        return AugmentDraws(**dict(zip(DRAWS, draws.unbind(1), strict=True)))


def augment_frames(frames: Tensor, draws: AugmentDraws, size: int) -> Tensor:
    """Rotate, resize, stretch, crop, flip and change the colours of frames [B, T, 3, K, K] in 0–1, which become
    [B, T, 3, size, size].

    All frames of a sample get the same change.
    """
    batch, count = frames.shape[:2]
    grid = F.affine_grid(_affine(draws), [batch, 3, size, size], align_corners=False)
    grid = grid.repeat_interleave(count, dim=0)
    cropped = F.grid_sample(frames.flatten(0, 1), grid, padding_mode="reflection", align_corners=False)
    return _change_colours(cropped.view(batch, count, 3, size, size), draws)


def augment_points(points: Tensor, draws: AugmentDraws) -> Tensor:
    """Where points [B, N, 2] of the frames, x and y in 0–1, come to lie when the frames are augmented."""
    matrix = _affine(draws)
    inverse, _ = torch.linalg.inv_ex(matrix[:, :, :2])  # there is one; `inv` waits for the device to be sure of it
    back = inverse.transpose(1, 2)
    moved: Tensor = (2 * points - 1 - matrix[:, None, :, 2]) @ back
    return (moved + 1) / 2


def _affine(draws: AugmentDraws) -> Tensor:
    """[B, 2, 3] from output to input coordinates, both −1..1."""
    cos, sin = draws.angle_rad.cos(), draws.angle_rad.sin()
    fit = 1 / (cos.abs() + sin.abs())  # side of the largest upright square inside the rotated one
    half_width, half_height = draws.width * fit, draws.height * fit
    shift_x = (2 * draws.x - 1) * (fit - half_width)
    shift_y = (2 * draws.y - 1) * (fit - half_height)
    return torch.stack(
        [
            torch.stack([draws.mirror * cos * half_width, -sin * half_height, cos * shift_x - sin * shift_y], dim=1),
            torch.stack([draws.mirror * sin * half_width, cos * half_height, sin * shift_x + cos * shift_y], dim=1),
        ],
        dim=1,
    )


def _change_colours(frames: Tensor, draws: AugmentDraws) -> Tensor:
    """Brightness, contrast, then saturation and hue (a rotation in YIQ); values stay in 0–1."""

    def each(values: Tensor) -> Tensor:
        return values[:, None, None, None, None]

    frames = (frames * each(draws.brightness)).clamp(0, 1)
    luma, to_yiq, from_yiq = _colour_constants(frames.device)
    mean = (frames * luma).sum(2, keepdim=True).mean((3, 4), keepdim=True)
    frames = (mean + (frames - mean) * each(draws.contrast)).clamp(0, 1)
    angle = draws.hue_turns * (2 * torch.pi)
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rows = [
        [one, zero, zero],
        [zero, draws.saturation * angle.cos(), -draws.saturation * angle.sin()],
        [zero, draws.saturation * angle.sin(), draws.saturation * angle.cos()],
    ]
    turn = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    matrix = from_yiq @ turn @ to_yiq
    return torch.einsum("bij,btjhw->btihw", matrix, frames).clamp(0, 1)


@cache
def _colour_constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """On a device, once: what each colour gives to the luma [1, 1, 3, 1, 1], RGB to YIQ [3, 3], and back."""
    to_yiq, luma = (torch.tensor(values, device="cpu") for values in (_RGB_TO_YIQ, _LUMA))
    return luma.view(1, 1, 3, 1, 1).to(device), to_yiq.to(device), torch.linalg.inv(to_yiq).to(device)
