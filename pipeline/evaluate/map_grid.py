"""The grid of frames and maps that shows during training what a model looks at: of each sample the frame with a line
around what sounds, the map over it, and the labels below."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pipeline.evaluate.metrics.resize import Centres
from pipeline.evaluate.overlay.overlay import lay_heat
from pipeline.evaluate.overlay.track import unit_range
from pipeline.evaluate.samples import EvaluationBatch

_COLUMNS = 4
_SIDE, _SPLIT, _GAP, _CAPTION = 160, 4, 14, 22
_WHOLE = (0.0, 0.0, 1.0, 1.0)
_INK, _PAPER, _TRUTH = (60, 60, 67), (255, 255, 255), (255, 255, 255)
_LETTERS = 44
"""About what fits below two pictures."""


def draw_grid(batch: EvaluationBatch, heat: npt.NDArray[np.float32], centres: Centres | None = None) -> Image.Image:
    """Samples with their maps [B, h, w] in rows of four; `centres` are where the maps' values lie."""
    count = len(batch.keys)
    columns, rows = min(_COLUMNS, count), -(-count // _COLUMNS)
    width, height = 2 * _SIDE + _SPLIT, _SIDE + _CAPTION
    page = Image.new("RGB", (columns * width + (columns + 1) * _GAP, rows * height + _GAP), _PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=13)
    for place in range(count):
        left = _GAP + (place % _COLUMNS) * (width + _GAP)
        top = _GAP + (place // _COLUMNS) * height
        pixels = batch.middle[place].permute(1, 2, 0).cpu().numpy()
        frame = np.array(Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
        truth = batch.truth_in_square(place)
        page.paste(Image.fromarray(frame if truth is None else _outline(frame, truth)), (left, top))
        laid = lay_heat(frame, unit_range(heat[place]), _WHOLE, centres=centres)
        page.paste(Image.fromarray(laid), (left + _SIDE + _SPLIT, top))
        caption = ", ".join(batch.metadata[place].labels) or batch.keys[place]
        if len(caption) > _LETTERS:
            caption = caption[: _LETTERS - 1] + "…"
        draw.text((left, top + _SIDE + _CAPTION / 2), caption, fill=_INK, font=font, anchor="lm")
    return page


def _outline(frame: npt.NDArray[np.uint8], truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The frame with a line, two pixels wide, around a mask of any size."""
    mask = np.array(Image.fromarray(truth).resize((_SIDE, _SIDE), Image.Resampling.NEAREST))
    inner = mask.copy()
    for axis in (0, 1):
        for shift in (-2, 2):
            inner &= np.roll(mask, shift, axis=axis)
    drawn: npt.NDArray[np.uint8] = frame.copy()
    drawn[mask & ~inner] = _TRUTH
    return drawn
