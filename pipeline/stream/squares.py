"""A picture as a square, scaled: [3, K, K], each colour for itself."""

from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image, ImageOps

from pipeline.features.settings import Geometry
from pipeline.samples.metadata import Box
from pipeline.video.clip import convert
from pipeline.video.open_picture import open_picture
from pipeline.video.upright import Display

Pixels = npt.NDArray[np.uint8]

_KINDS = ("JPEG", "PNG", "WEBP")
_PLANES = {0: 2, 1: 0, 2: 1}  # gbrp keeps green first


@dataclass(frozen=True)
class Cut:
    """Which square of an upright picture is taken.

    Attributes:
        geometry: how the picture becomes a square.
        place: of geometry `centre`: where the square lies along the longer side, 0–1.
    """

    geometry: Geometry = "centre"
    place: float = 0.5

    def scaled(self, width: float, height: float, size: int) -> tuple[int, int]:
        """Columns and rows of the whole picture when its square has `size` pixels a side."""
        if self.geometry == "squash":
            return size, size
        scale = size / (min(width, height) if self.geometry == "centre" else max(width, height))
        if self.geometry == "centre":
            return max(size, round(width * scale)), max(size, round(height * scale))
        return max(1, min(size, round(width * scale))), max(1, min(size, round(height * scale)))

    def offsets(self, columns: int, rows: int, size: int) -> tuple[int, int]:
        """Left and top of the square in the scaled picture; below zero where a bar comes before it."""
        place = self.place if self.geometry == "centre" else 0.5
        return round((columns - size) * place), round((rows - size) * place)


def box_of(left: int, top: int, size: int, columns: int, rows: int) -> Box:
    """The box of a square of `size` pixels at `left`, `top` in a picture of `columns` × `rows`, `[x1, y1, x2, y2]` in
    units of the picture; beyond 0–1 where it has bars."""
    return (left / columns, top / rows, (left + size) / columns, (top + size) / rows)


def open_image(content: bytes, size: int) -> Image.Image:
    """A JPEG, PNG or WebP as an upright RGB picture, of at least `size` pixels a side where it has as many.

    Raises:
        ValueError: no such image, or a damaged one.
    """
    with open_picture(content, _KINDS) as image:
        image.draft("RGB", (size, size))  # decodes at a fraction of the size where that is enough
        if "exif" in image.info:  # only others write it
            image = ImageOps.exif_transpose(image)
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")


def square_of_image(image: Image.Image, cut: Cut, target: Pixels) -> Box:
    """Put an upright RGB picture as a square into `target` [3, K, K].

    Returns:
        The square's box in the upright image, `[x1, y1, x2, y2]`: in 0–1, beyond it where bars are.
    """
    size = target.shape[1]
    pixels, box = cut_square(image, cut, size)
    for band, name in enumerate("RGB"):
        # each colour by itself takes a third of the time of all, turned round
        target[band] = np.frombuffer(pixels.tobytes("raw", name), np.uint8).reshape(size, size)
    return box


def cut_square(pixels: Image.Image, cut: Cut, size: int) -> tuple[Image.Image, Box]:
    """An upright RGB picture as a square of `size` pixels, and the square's box as of `square_of_image`."""
    width, height = pixels.size
    if cut.geometry == "centre":  # from the picture as it is, so that no pixel outside the square bleeds in
        side = min(width, height)
        left, top = cut.offsets(width, height, side)
        if (side, side) != (size, size) or side != max(width, height):
            within = (left, top, left + side, top + side)
            pixels = pixels.resize((size, size), Image.Resampling.BILINEAR, box=within)
        return pixels, box_of(left, top, side, width, height)
    columns, rows = cut.scaled(width, height, size)
    left, top = cut.offsets(columns, rows, size)
    pixels = pixels.resize((columns, rows), Image.Resampling.BILINEAR)
    if (columns, rows) != (size, size):
        pixels = pixels.crop((left, top, left + size, top + size))  # what lies outside becomes black
    return pixels, box_of(left, top, size, columns, rows)


def square_of_frame(frame: av.VideoFrame, cut: Cut, target: Pixels, display: Display, scaler: VideoReformatter) -> Box:
    """Put a video frame as a square into `target` [3, K, K]; arguments and result as of `square_of_image`.

    Args:
        display: how the frame is to be shown.
        scaler: the same for all frames of a clip.
    """
    size = target.shape[1]
    width, height = map(float, display.square_size(frame.width, frame.height))
    columns, rows = cut.scaled(width, height, size)
    planes = convert(frame, columns, rows, "gbrp", Interpolation.BILINEAR, scaler).planes
    upright = (rows, columns) if display.sideways else (columns, rows)
    left, top = cut.offsets(*upright, size)
    to_rows, from_rows = _overlap(top, upright[1], size)
    to_columns, from_columns = _overlap(left, upright[0], size)
    for band, plane in _PLANES.items():
        pixels = np.frombuffer(planes[plane], np.uint8).reshape(rows, planes[plane].line_size)[:, :columns]
        if display.moves_pixels:
            pixels = display.upright(pixels)
        if cut.geometry == "letterbox":
            target[band] = 0
        target[band][to_rows, to_columns] = pixels[from_rows, from_columns]
    return box_of(left, top, size, *upright)


def _overlap(start: int, length: int, size: int) -> tuple[slice, slice]:
    """Where a stretch of `size` pixels from `start` on meets a picture of `length`: in the stretch, in the picture."""
    first, last = max(start, 0), min(start + size, length)
    return slice(first - start, last - start), slice(first, last)
