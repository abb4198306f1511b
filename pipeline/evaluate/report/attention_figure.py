"""Figure 6 of the G-AVT thesis for any model: rows are ways to read its attention, columns are samples.

Above each sample stands its frame with a line around what sounds; below, in every row, its map as it is, over silence
and over noise, each with the same line. At the right stand the row's figures over all samples.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from cluster import storage
from pipeline.evaluate.measures.attention_sweep import SWEEP, SWEEP_MAPS, SWEEP_PICTURE
from pipeline.evaluate.measures.contract import Table
from pipeline.evaluate.overlay.overlay import lay_heat
from pipeline.evaluate.overlay.track import unit_range
from pipeline.evaluate.overlay.video_stream import Pixels
from pipeline.evaluate.readouts.attention_sweep import PRIORS

_TILE, _THIN, _WIDE = 64, 2, 12
_LEFT, _FIGURES = 250, 118
_ROW, _LINE, _EDGE = _TILE + _THIN, 18, 16
_INK, _SOFT, _PAPER, _TRUTH, _NONE = (29, 33, 41), (91, 98, 112), (255, 255, 255), (255, 255, 255), (240, 241, 244)
_WHOLE = (0.0, 0.0, 1.0, 1.0)
_TITLES = {"none": "raw", "silence": "÷ silence", "noise": "÷ noise"}
_LETTERS = 24
_DIMMED = 0.75
"""Of the brightness of frames below heat."""


@dataclass(frozen=True)
class _Page:
    """Where things lie on the picture."""

    samples: int
    priors: int

    @property
    def sample(self) -> int:
        """Width of a sample's tiles."""
        return self.priors * _ROW - _THIN

    @property
    def top(self) -> int:
        """Where the first row begins: below the words, the frames and the titles."""
        return _EDGE + 3 * _LINE + self.sample + 2 * _LINE

    @property
    def figures(self) -> int:
        return _EDGE + _LEFT + self.samples * (self.sample + _WIDE)

    @property
    def width(self) -> int:
        return self.figures + self.priors * _FIGURES + _EDGE

    def left(self, sample: int) -> int:
        return _EDGE + _LEFT + sample * (self.sample + _WIDE)


def write_sweep_picture(folder: str, tables: Sequence[Table]) -> None:
    """Draw `attention_sweep.npz` of a folder beside it, where a table of these is of it and there was a sample."""
    table = next((one for one in tables if one.measure == SWEEP), None)
    source = storage.join(folder, SWEEP_MAPS)
    if table is None or not storage.exists(source):
        return
    with np.load(io.BytesIO(storage.read_bytes(source)), allow_pickle=False) as arrays:
        picture = draw_sweep(arrays, table if table.rows else None)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    storage.write_bytes(storage.join(folder, SWEEP_PICTURE), buffer.getvalue())


def draw_sweep(arrays: Mapping[str, npt.NDArray[Any]], table: Table | None) -> Image.Image:
    """The picture of what `attention_sweep.npz` holds.

    Args:
        table: the figures that stand beside the rows; None without boxes.
    """
    rows, priors = arrays["rows"].tolist(), arrays["priors"].tolist()
    page = _Page(len(arrays["frames"]), len(priors))
    image = Image.new("RGB", (page.width, page.top + len(rows) * _ROW + _EDGE), _PAPER)
    draw = ImageDraw.Draw(image)
    font, bold, small = _font(13), _font(13, "bold"), _font(11)
    said = "each map scaled to its own upper half; the white line is what sounds"
    draw.text((_EDGE, _EDGE), "Ways to read attention", _INK, bold)
    draw.text((_EDGE + 200, _EDGE), said, _SOFT, font)
    if table is not None:
        of = f"pointing / cIoU adap. / IIoU adap., %, {table.samples:,} samples"
        draw.text((page.width - _EDGE, page.top - 2.6 * _LINE), of, _SOFT, small, anchor="ra")
    for sample in range(page.samples):
        truth = np.asarray(arrays["truths"][sample], np.bool_)
        frame, left = np.asarray(arrays["frames"][sample], np.uint8), page.left(sample)
        image.paste(Image.fromarray(_outlined(_sized(frame, page.sample), truth)), (left, _EDGE + 2 * _LINE))
        label = str(arrays["labels"][sample])
        label = label if len(label) <= _LETTERS else label[: _LETTERS - 1] + "…"
        draw.text((left, _EDGE + 2.2 * _LINE + page.sample), label, _INK, bold)
        for prior, name in enumerate(priors):
            draw.text((left + prior * _ROW, page.top - 1.2 * _LINE), _TITLES[name], _SOFT, small)
        for row in range(len(rows)):
            for prior in range(len(priors)):
                tile = _tile(frame, arrays["maps"][sample, row, prior], truth)
                image.paste(Image.fromarray(tile), (left + prior * _ROW, page.top + row * _ROW))
    for prior, name in enumerate(priors):
        draw.text((page.figures + prior * _FIGURES, page.top - 1.2 * _LINE), _TITLES[name], _SOFT, small)
    found = {} if table is None else {row.name: row.values for row in table.rows}
    for place, name in enumerate(rows):
        middle = page.top + place * _ROW + _TILE / 2
        words, _, heads = name.partition(", ")
        draw.text((_EDGE, middle - 9), words, _INK, bold, anchor="lm")
        draw.text((_EDGE, middle + 9), heads, _SOFT, font, anchor="lm")
        for prior, values in enumerate(found.get(name + PRIORS[one]) for one in priors):
            if values is not None:
                shown = _figures([values[column] for column in ("pointing", "ciou_adap", "iiou_adap")])
                draw.text((page.figures + prior * _FIGURES, middle), shown, _INK, font, anchor="lm")
    return image


def _figures(values: Sequence[float | None]) -> str:
    return " / ".join("–" if value is None else f"{100 * value:.0f}" for value in values)


def _tile(frame: Pixels, heat: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_]) -> Pixels:
    """A map over its frame in grey; plain where there is none."""
    if np.isnan(heat).all():
        return np.full((_TILE, _TILE, 3), _NONE, np.uint8)
    return _outlined(lay_heat(_grey(_sized(frame, _TILE)), unit_range(np.nan_to_num(heat)), _WHOLE), truth)


def _grey(pixels: Pixels) -> Pixels:
    """Without colours, which can't be told from those of the heat on so small a tile."""
    return np.repeat(pixels.mean(axis=2, keepdims=True) * _DIMMED, 3, axis=2).astype(np.uint8)


def _sized(frame: Pixels, side: int) -> Pixels:
    return np.array(Image.fromarray(frame).resize((side, side), Image.Resampling.BILINEAR))


def _outlined(pixels: Pixels, truth: npt.NDArray[np.bool_]) -> Pixels:
    """The picture with a line around a mask of any size, drawn on its outside, dark beside white."""
    side = len(pixels)
    mask = np.array(Image.fromarray(truth).resize((side, side), Image.Resampling.NEAREST))
    drawn, within = pixels.copy(), mask
    for colour in (_TRUTH, (0, 0, 0)):
        grown = _grown(within)
        drawn[grown & ~within] = colour
        within = grown
    return drawn if mask.any() else pixels


def _grown(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """By a pixel in each direction."""
    wide = np.pad(mask, 1)
    return wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:] | mask


def _font(size: int, weight: str = "normal") -> ImageFont.FreeTypeFont:
    """One that matplotlib brings along, so that arrows and dashes are there on each machine."""
    return ImageFont.truetype(font_manager.findfont(font_manager.FontProperties("DejaVu Sans", weight=weight)), size)
