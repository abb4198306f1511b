"""Pictures and sounds as they lie in a tar."""

import io

import numpy as np
from PIL import Image

from pipeline.sound.flac import encode_flac


def picture(number: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 40), (number * 9 % 256, 80, 120)).save(buffer, kind)
    return buffer.getvalue()


def sound(number: int, rate_hz: int = 22050) -> bytes:
    tone = np.sin(np.arange(rate_hz // 2) * (0.02 + 0.01 * number)) * 9000
    return encode_flac(tone.astype(np.int16)[None], rate_hz)
