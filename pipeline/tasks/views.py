"""Views of what embedders see: crops that are resized to the size of the whole, and blocks of their tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models.contract import AUDIO, VISUAL, Images, TokenGrid
from pipeline.tasks.self_distillation_settings import SelfDistillationSettings

DRAWS = ("area", "aspect", "x", "y", "flip", "brightness", "contrast", "length", "start", "row", "column", "moment")
"""What is drawn for a view, each uniformly from 0–1, in order."""
_ASPECT = 4 / 3
"""Largest stretch of a crop, as of random resized crops everywhere."""


def crop_view(images: Images, draws: Tensor, settings: SelfDistillationSettings) -> Images:
    """A large part of each sample, by its draws [B, 12]: of all its frames the same rectangle, mirrored or not, and of
    its sound a stretch of time with all frequencies; both resized to the size of the whole."""
    drawn, view = dict(zip(DRAWS, draws.unbind(1), strict=True)), {}
    if VISUAL in images:
        view[VISUAL] = _crop_frames(images[VISUAL], drawn, settings)
    if AUDIO in images:
        length = _between(settings.sound_length, drawn["length"])
        whole = torch.ones_like(length)
        view[AUDIO] = _crop(images[AUDIO], length, whole, drawn["start"], whole, whole)
    return view


def _crop_frames(frames: Tensor, drawn: dict[str, Tensor], settings: SelfDistillationSettings) -> Tensor:
    area, aspect = _between(settings.frame_area, drawn["area"]), _ASPECT ** (2 * drawn["aspect"] - 1)
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    mirrored = torch.where(drawn["flip"] < 0.5, -1.0, 1.0) if settings.flip else torch.ones_like(width)
    frames = _crop(frames, width, height, drawn["x"], drawn["y"], mirrored)
    contrast, brightness = (settings.jitter * (2 * drawn[name] - 1) for name in ("contrast", "brightness"))
    return frames * (1 + contrast.view(-1, 1, 1, 1, 1)) + brightness.view(-1, 1, 1, 1, 1)


def block_size(name: str, grid: TokenGrid, share: float) -> tuple[int, int]:
    """Rows and columns of a block with about that share of a stream's tokens: of a frame a part as high as wide, of a
    sound all frequencies of a stretch."""
    rows, columns = grid.shape[-2:]
    if name == AUDIO:
        return rows, min(max(round(share * columns), 1), columns)
    side = share**0.5
    return min(max(round(side * rows), 1), rows), min(max(round(side * columns), 1), columns)


def block_view(name: str, grid: TokenGrid, draws: Tensor, share: float) -> Tensor:
    """Indices [B, n] of the tokens of a block, of all frames the same, by the draws [B, 12]."""
    drawn = dict(zip(DRAWS, draws.unbind(1), strict=True))
    (rows, columns), (high, wide) = grid.shape[-2:], block_size(name, grid, share)
    before = grid.count // (rows * columns)
    top = _place(drawn["row"], rows - high + 1)
    left = _place(drawn["moment"] if name == AUDIO else drawn["column"], columns - wide + 1)
    device = draws.device
    inside = (torch.arange(high, device=device)[:, None] * columns + torch.arange(wide, device=device)).flatten()
    corner = top * columns + left
    frames = torch.arange(before, device=device) * rows * columns
    return (corner[:, None, None] + frames[:, None] + inside).flatten(1)


def _between(ends: tuple[float, float], drawn: Tensor) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * drawn


def _place(drawn: Tensor, places: int) -> Tensor:
    """One of so many places; a number just below 1 may be rounded to it."""
    return (drawn * places).long().clamp(max=places - 1)


def _crop(image: Tensor, width: Tensor, height: Tensor, x: Tensor, y: Tensor, mirrored: Tensor) -> Tensor:
    """Rectangles of an image [B, T, C, H, W], resized bilinearly to its size.

    Args:
        width, height: [B] as shares of the image.
        x, y: [B] where they lie in what is left of it, 0–1.
        mirrored: [B] −1 where left and right are exchanged, else 1.
    """
    zero = torch.zeros_like(width)
    across = torch.stack([width * mirrored, zero, (1 - width) * (2 * x - 1)], dim=1)
    down = torch.stack([zero, height, (1 - height) * (2 * y - 1)], dim=1)
    batch, count = image.shape[:2]
    grid = F.affine_grid(torch.stack([across, down], dim=1), [batch, *image.shape[2:]], align_corners=False)
    flat = image.float().flatten(0, 1)
    # beyond the border lies half a pixel, by rounding
    cropped = F.grid_sample(flat, grid.repeat_interleave(count, dim=0), padding_mode="border", align_corners=False)
    return cropped.view(image.shape)
