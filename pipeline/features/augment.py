"""Augmentations, batched on the device; every draw is keyed by the sample's position, so it is the same on any rank."""

from collections.abc import Mapping
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
    crop: Tensor
    """[B, 2, 3] from output to input coordinates of the frames, both −1..1."""
    colours: Tensor
    """[B, 3, 3] what saturation and hue make of RGB."""

    @staticmethod
    def of(drawn: Tensor) -> "AugmentDraws":
        """From numbers [B, 26], see `with_matrices`."""
        numbers, crop, colours = torch.split(drawn, [len(DRAWS), 6, 9], dim=1)
        named = dict(zip(DRAWS, numbers.unbind(1), strict=True))
        return AugmentDraws(**named, crop=crop.view(-1, 2, 3), colours=colours.view(-1, 3, 3))


def with_matrices(draws: Tensor) -> Tensor:
    """What was drawn for each sample, [B, 11] in the order of `pipeline.features.draws.DRAWS`, and behind it the
    matrices that come of it, [B, 26]: made on the host beside training, where on a GPU each of many steps of it would
    be launched by the training thread."""
    drawn = dict(zip(DRAWS, draws.unbind(1), strict=True))
    return torch.cat([draws, _crop(drawn).flatten(1), _turn_of_colours(drawn).flatten(1)], dim=1)


def augment_frames(frames: Tensor, draws: AugmentDraws, size: int) -> Tensor:
    """Rotate, resize, stretch, crop, flip and change the colours of frames [B, T, 3, K, K] in 0–1, which become
    [B, T, 3, size, size].

    All frames of a sample get the same change.
    """
    batch, count = frames.shape[:2]
    grid = F.affine_grid(draws.crop, [batch, 3, size, size], align_corners=False)
    grid = grid.repeat_interleave(count, dim=0)
    cropped = F.grid_sample(frames.flatten(0, 1), grid, padding_mode="reflection", align_corners=False)
    return _change_colours(cropped.view(batch, count, 3, size, size), draws)


def augment_points(points: Tensor, draws: AugmentDraws) -> Tensor:
    """Where points [B, N, 2] of the frames, x and y in 0–1, come to lie when the frames are augmented."""
    matrix = draws.crop
    inverse, _ = torch.linalg.inv_ex(matrix[:, :, :2])  # there is one; `inv` waits for the device to be sure of it
    back = inverse.transpose(1, 2)
    moved: Tensor = (2 * points - 1 - matrix[:, None, :, 2]) @ back
    return (moved + 1) / 2


def _crop(drawn: Mapping[str, Tensor]) -> Tensor:
    """[B, 2, 3] `AugmentDraws.crop`."""
    cos, sin = drawn["angle_rad"].cos(), drawn["angle_rad"].sin()
    fit = 1 / (cos.abs() + sin.abs())  # side of the largest upright square inside the rotated one
    half_width, half_height = drawn["width"] * fit, drawn["height"] * fit
    shift_x = (2 * drawn["x"] - 1) * (fit - half_width)
    shift_y = (2 * drawn["y"] - 1) * (fit - half_height)
    return torch.stack(
        [
            torch.stack([drawn["mirror"] * cos * half_width, -sin * half_height, cos * shift_x - sin * shift_y], dim=1),
            torch.stack([drawn["mirror"] * sin * half_width, cos * half_height, sin * shift_x + cos * shift_y], dim=1),
        ],
        dim=1,
    )


def _turn_of_colours(drawn: Mapping[str, Tensor]) -> Tensor:
    """[B, 3, 3] `AugmentDraws.colours`: a rotation in YIQ."""
    saturation, angle = drawn["saturation"], drawn["hue_turns"] * (2 * torch.pi)
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rows = [
        [one, zero, zero],
        [zero, saturation * angle.cos(), -saturation * angle.sin()],
        [zero, saturation * angle.sin(), saturation * angle.cos()],
    ]
    turn = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    to_yiq = torch.tensor(_RGB_TO_YIQ, device=angle.device)
    matrix: Tensor = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    return matrix


def _change_colours(frames: Tensor, draws: AugmentDraws) -> Tensor:
    """Brightness, contrast, then saturation and hue; values stay in 0–1."""

    def each(values: Tensor) -> Tensor:
        return values[:, None, None, None, None]

    frames = (frames * each(draws.brightness)).clamp(0, 1)
    mean = (frames * _luma(frames.device)).sum(2, keepdim=True).mean((3, 4), keepdim=True)
    frames = torch.lerp(mean, frames, each(draws.contrast)).clamp(0, 1)
    turned: Tensor = draws.colours[:, None] @ frames.flatten(3)
    return turned.view_as(frames).clamp(0, 1)


@cache
def _luma(device: torch.device) -> Tensor:
    """What each colour gives to the luma [1, 1, 3, 1, 1], brought to a device once."""
    return torch.tensor(_LUMA, device="cpu").view(1, 1, 3, 1, 1).to(device)
