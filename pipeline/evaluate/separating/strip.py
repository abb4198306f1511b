"""A picture of what was separated: the frame with its places, and a spectrogram of the mixture and of each place."""

import io
import math
from collections.abc import Sequence

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pipeline.evaluate.overlay.video_stream import Pixels
from pipeline.evaluate.separating.marks import colour_of
from pipeline.evaluate.separating.masking import Separated

_COLOURS: npt.NDArray[np.uint8] = (matplotlib.colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8)
_ROWS, _MOST_COLUMNS = 120, 900
_LOWEST_HZ, _HIGHEST_HZ = 50.0, 16_000.0
_SHOWN_DB = 70.0
"""From the loudest place of all spectrograms down to where they are black."""
_GAP, _LEFT, _BELOW, _CAPTION = 10, 56, 24, 20
_INK, _SOFT, _PAPER = (29, 33, 41), (110, 116, 128), (255, 255, 255)
_MARKED_HZ = (100, 1000, 10_000)


class Spectrograms:
    """Gathers spectrograms of a fixed size over a sound of any length.

    Args:
        frequencies_hz: [K] of the STFT.
        length_s: of the sound.
        step_s: from one window of the STFT to the next.
        count: places, what is left over among them.
    """

    def __init__(self, frequencies_hz: Tensor, length_s: float, step_s: float, count: int) -> None:
        self.length_s = length_s
        self.top_hz = min(_HIGHEST_HZ, float(frequencies_hz[-1]))
        self.columns = min(max(math.ceil(length_s / step_s), 1), _MOST_COLUMNS)
        self._bands = _bands(frequencies_hz, self.top_hz)
        self._power = torch.zeros(count + 1, self.columns, _ROWS)
        self._windows = torch.zeros(self.columns)

    def add(self, piece: Separated) -> None:
        """The next piece of the sound."""
        column = (piece.times_s / self.length_s * self.columns).long().clamp(0, self.columns - 1)
        inside = ((piece.times_s >= 0) & (piece.times_s <= self.length_s)).float()
        power = torch.cat([piece.power[None], piece.power * piece.masks.square()]) * inside[:, None]
        self._power.index_add_(1, column, power @ self._bands)
        self._windows.index_add_(0, column, inside)

    def levels(self) -> npt.NDArray[np.float32]:
        """[1 + count, rows, columns] in 0–1, lowest frequency first, the mixture first."""
        power = (self._power / self._windows.clamp(min=1)[:, None]).transpose(1, 2)
        decibels = 10 * torch.log10(power.clamp(min=1e-20))
        loudest = float(decibels.max())
        shown: npt.NDArray[np.float32] = ((decibels - loudest) / _SHOWN_DB + 1).clamp(0, 1).numpy()
        return shown if float(power.max()) > 1e-12 else np.zeros_like(shown)


def _bands(frequencies_hz: Tensor, top_hz: float) -> Tensor:
    """[K, rows] that takes the mean over each of the rows' bands, which lie evenly on a logarithmic axis."""
    edges = torch.logspace(math.log10(_LOWEST_HZ), math.log10(top_hz), _ROWS + 1)
    step = float(frequencies_hz[1])
    low, high = frequencies_hz[:, None] - step / 2, frequencies_hz[:, None] + step / 2
    inside = (torch.minimum(high, edges[1:]) - torch.maximum(low, edges[:-1])).clamp(min=0)
    return inside / inside.sum(0).clamp(min=1e-9)


def draw_strip(frame: Pixels, spectrograms: Spectrograms, names: Sequence[str]) -> bytes:
    """PNG: the marked frame [H, W, 3], and below each other the spectrograms of the mixture, the places of these names,
    and what is left over."""
    levels = spectrograms.levels()
    titles = ["mixture", *names, "rest"]
    wide = max(spectrograms.columns, 300)
    height = len(titles) * (_ROWS + _CAPTION + _GAP) + _BELOW
    picture = Image.fromarray(frame)
    picture.thumbnail((480, max(height - _BELOW, 200)))
    left = picture.width + 2 * _GAP + _LEFT
    page = Image.new("RGB", (left + wide + _GAP, max(height, picture.height) + _GAP), _PAPER)
    page.paste(picture, (_GAP, _GAP))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=13)
    for number, (title, level) in enumerate(zip(titles, levels, strict=True)):
        top = _GAP + number * (_ROWS + _CAPTION + _GAP) + _CAPTION
        colour = colour_of(number - 1) if 0 < number <= len(names) else _SOFT
        draw.rectangle((left, top - _CAPTION + 5, left + 9, top - 6), fill=colour)
        draw.text((left + 15, top - _CAPTION / 2), title, fill=_INK, font=font, anchor="lm")
        image = Image.fromarray(_COLOURS[(level[::-1] * 255).astype(np.uint8)])
        page.paste(image.resize((wide, _ROWS), Image.Resampling.BILINEAR), (left, top))
        for marked in _MARKED_HZ:
            if _LOWEST_HZ < marked < spectrograms.top_hz:
                share = math.log(marked / _LOWEST_HZ) / math.log(spectrograms.top_hz / _LOWEST_HZ)
                y = top + _ROWS * (1 - share)
                draw.line((left - 4, y, left - 1, y), fill=_SOFT)
                text = f"{marked // 1000} kHz" if marked >= 1000 else f"{marked} Hz"
                draw.text((left - 7, y), text, fill=_SOFT, font=font, anchor="rm")
    _draw_times(draw, font, spectrograms.length_s, left, wide, height - _BELOW)
    buffer = io.BytesIO()
    page.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _draw_times(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    length_s: float,
    left: int,
    wide: int,
    top: int,
) -> None:
    """The times below the spectrograms."""
    for number in range(5):
        x = left + wide * number / 4
        draw.line((x, top, x, top + 4), fill=_SOFT)
        anchor = "lt" if number == 0 else "rt" if number == 4 else "mt"
        draw.text((x, top + 7), f"{length_s * number / 4:.{1 if length_s < 100 else 0}f} s", _SOFT, font, anchor)
