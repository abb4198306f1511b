"""A square of a picture, scaled: [3, K, K], each colour for itself."""

import io
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image, ImageOps

from pipeline.samples.clip import convert
from pipeline.samples.metadata import Box

Pixels = npt.NDArray[np.uint8]

_KINDS = ("JPEG", "PNG", "WEBP")
_PLANES = {0: 2, 1: 0, 2: 1}  # gbrp keeps green first
_ROTATED_RIGHT = (90, 270)


def square_of_image(content: bytes, place: float, target: Pixels) -> Box:
    """Put a square of a JPEG, PNG or WebP into `target` [3, K, K].

    Args:
        place: where the square lies along the longer side of the upright image, 0–1.

    Returns:
        The square's box in the upright image, `[x1, y1, x2, y2]` in 0–1.

    Raises:
        ValueError: no such image, or a damaged one.
    """
    size = target.shape[1]
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=_KINDS)
        image.draft("RGB", (size, size))  # decodes at a fraction of the size where that is enough
        if "exif" in image.info:  # only others write it
            image = ImageOps.exif_transpose(image)
        image.load()
        pixels = image if image.mode == "RGB" else image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error
    width, height = pixels.size
    side = min(width, height)
    left, top = round((width - side) * place), round((height - side) * place)
    if (side, side) != (size, size) or side != max(width, height):
        box = (left, top, left + side, top + side)
        pixels = pixels.resize((size, size), Image.Resampling.BILINEAR, box=box)
    for band, name in enumerate("RGB"):
        # each colour by itself takes a third of the time of all, turned round
        target[band] = np.frombuffer(pixels.tobytes("raw", name), np.uint8).reshape(size, size)
    return (left / width, top / height, (left + side) / width, (top + side) / height)


def square_of_frame(
    frame: av.VideoFrame, place: float, target: Pixels, pixel_aspect: Fraction, scaler: VideoReformatter
) -> Box:
    """Put a square of a video frame into `target` [3, K, K]; arguments and result as of `square_of_image`.

    Args:
        pixel_aspect: how many times as wide as high a pixel is shown.
        scaler: the same for all frames of a clip.
    """
    size = target.shape[1]
    turned = frame.rotation % 360
    width, height = float(frame.width * pixel_aspect), float(frame.height)
    scale = size / min(width, height)
    columns, rows = max(size, round(width * scale)), max(size, round(height * scale))
    planes = convert(frame, columns, rows, "gbrp", Interpolation.BILINEAR, scaler).planes
    upright = (rows, columns) if turned in _ROTATED_RIGHT else (columns, rows)
    left, top = (round((length - size) * place) for length in upright)
    for band, plane in _PLANES.items():
        pixels = np.frombuffer(planes[plane], np.uint8).reshape(rows, planes[plane].line_size)[:, :columns]
        if turned:
            pixels = np.rot90(pixels, turned // 90)
        target[band] = pixels[top : top + size, left : left + size]
    return (left / upright[0], top / upright[1], (left + size) / upright[0], (top + size) / upright[1])
