"""A picture of a sound: log-frequency spectrogram, time from left to right, low to high upwards."""

import io

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image

WIDTH, HEIGHT = 400, 96
_WINDOW_S = 0.05
_LOWEST_HZ = 50.0
_RANGE_DB = 80.0


def draw_spectrogram(audio: npt.NDArray[np.int16], rate_hz: int) -> bytes:
    """JPEG of 400×96 pixels of `audio` [C, S]; the loudest place is white, 80 dB below it black."""
    wave = audio.astype(np.float32).mean(axis=0) / 32768
    window = max(64, int(_WINDOW_S * rate_hz) // 2 * 2)
    padded = np.pad(wave, window // 2)
    starts = np.linspace(0, max(0, len(wave) - 1), WIDTH).astype(int)
    frames = padded[starts[:, None] + np.arange(window)] * np.hanning(window).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames, 4 * window, axis=1)))
    bins = np.geomspace(_LOWEST_HZ, rate_hz / 2, HEIGHT) / rate_hz * 4 * window
    rows = power[:, np.clip(np.rint(bins).astype(int), 0, power.shape[1] - 1)].T
    level = 10 * np.log10(np.maximum(rows, 1e-12))
    unit = np.clip((level - level.max()) / _RANGE_DB + 1, 0, 1)
    pixels = (colormaps["magma"](unit[::-1])[..., :3] * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
