"""From a decoded frame to the stored picture: square pixels, upright, not higher than wanted, JPEG."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.prepare.pyav_frames import Look

_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


def stored_size(width: int, rows: int, look: Look, height: int) -> tuple[int, int]:
    """Width and height to which a decoded frame of `width` × `rows` pixels is scaled before it is turned upright, so
    that it is then at most `height` pixels high, with square pixels, and never enlarged."""
    wide, high = float(width), float(rows)
    if look.pixel_aspect > 1:
        high /= float(look.pixel_aspect)
    else:
        wide *= float(look.pixel_aspect)
    scale = min(1.0, height / (wide if look.rotation in (90, 270) else high))
    return max(1, round(wide * scale)), max(1, round(high * scale))


def encode_picture(pixels: npt.NDArray[np.uint8], look: Look, height: int, quality: int) -> bytes:
    """JPEG of a frame RGB [H, W, 3] as it is to be seen, at most `height` pixels high, never enlarged.

    Pixels that are not square are squeezed along their longer side, so nothing is made up.
    """
    image = Image.fromarray(pixels)
    size = stored_size(image.width, image.height, look, height)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    if look.rotation:
        image = image.transpose(_TURNS[look.rotation])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0", optimize=False, progressive=False)
    return buffer.getvalue()
