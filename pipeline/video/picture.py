"""From a decoded frame to the stored picture: square pixels, upright, not higher than wanted, JPEG."""

import io

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation
from PIL import Image

from pipeline.video.frames import Frame, as_array
from pipeline.video.upright import Display

_SMALL = {"yuv420p": "yuv420p", "yuvj420p": "yuvj420p", "yuv420p10le": "yuv420p"}
# without the last two, pixels would depend on the processor
_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


def stored_size(width: int, rows: int, display: Display, height: int) -> tuple[int, int]:
    """Width and height to which a decoded frame of `width` × `rows` pixels is scaled before it is turned upright, so
    that it is then at most `height` pixels high, with square pixels, and never enlarged."""
    wide, high = display.scaled_size(width, rows, height)
    return max(1, round(wide)), max(1, round(high))


def encode_picture(frame: Frame, height: int, quality: int) -> bytes:
    """JPEG of a frame, see `upright_pixels`."""
    return as_jpeg(Image.fromarray(upright_pixels(frame, height)), quality)


def upright_pixels(frame: Frame, height: int) -> npt.NDArray[np.uint8]:
    """RGB [H, W, 3] of a frame as it is to be seen, at most `height` pixels high, never enlarged.

    Colours without a tag count as BT.601, as everywhere in FFmpeg.
    """
    size = stored_size(frame.image.width, frame.image.height, frame.display, height)
    return np.ascontiguousarray(frame.display.upright(as_array(_scaled(frame.image, size))))


def encode_image(image: Image.Image, height: int, quality: int) -> bytes:
    """JPEG of an upright RGB image, at most `height` pixels high, never enlarged."""
    if image.height > height:
        width = max(1, round(image.width * height / image.height))
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return as_jpeg(image, quality)


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    """JPEG of an RGB image as it is; the same pixels always give the same bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0", optimize=False, progressive=False)
    return buffer.getvalue()


def _scaled(image: av.VideoFrame, size: tuple[int, int]) -> av.VideoFrame:
    """As rgb24 of (width, height)."""
    width, height = size
    if (width, height) != (image.width, image.height):
        # chroma of 4:2:0 stays as small as the JPEG stores it: five times cheaper than scaling RGB, and nothing is lost
        small = _SMALL.get(image.format.name, "rgb24")
        image = image.reformat(width, height, small, interpolation=_SCALING, threads=1)
    return image.reformat(format="rgb24", threads=1)
