"""Small copies of what lies in a sample, for a page: pictures, sound and clips."""

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.video.clip import Pixels

_CLIP_ROWS = 240
_AUDIO_RATE_HZ = 32_000  # AAC knows few rates
_MOST_FLAC_BYTES = 150_000
_LAYOUTS = {1: "mono", 2: "stereo"}

Audio = npt.NDArray[np.int16]


def small_picture(pixels: Pixels, rows: int) -> bytes:
    """JPEG of RGB [H, W, 3], at most `rows` pixels high."""
    image = Image.fromarray(pixels)
    image.thumbnail((4 * rows, rows), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def playable_sound(flac: bytes, audio: Audio, rate_hz: int) -> tuple[str, bytes]:
    """(media type, content) of a sound for a player: the FLAC itself where it is small, else AAC."""
    if len(flac) <= _MOST_FLAC_BYTES:
        return "audio/flac", flac
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        _encode_sound(container, _add_sound(container, audio), audio, rate_hz)
    return "audio/mp4", buffer.getvalue()


def playable_clip(frames: Sequence[Pixels], fps: float, audio: Audio, rate_hz: int) -> bytes:
    """A small MP4 of frames RGB [H, W, 3] with their sound, H.264 and AAC."""
    height, width = frames[0].shape[:2]
    scale = min(1.0, _CLIP_ROWS / height)
    size = [max(2, round(side * scale) // 2 * 2) for side in (width, height)]
    rate = Fraction(fps).limit_denominator(1_000_000)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "28"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.codec_context.thread_count = 1
        sound = _add_sound(container, audio)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(*size, "yuv420p")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        _encode_sound(container, sound, audio, rate_hz)
    return buffer.getvalue()


def _add_sound(container: av.container.OutputContainer, audio: Audio) -> av.AudioStream:
    stream = container.add_stream("aac", rate=_AUDIO_RATE_HZ, layout=_LAYOUTS[audio.shape[0]])
    stream.bit_rate = 64_000
    return stream


def _encode_sound(container: av.container.OutputContainer, stream: av.AudioStream, audio: Audio, rate_hz: int) -> None:
    layout = _LAYOUTS[audio.shape[0]]
    piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.T).reshape(1, -1), format="s16", layout=layout)
    piece.sample_rate, piece.pts, piece.time_base = rate_hz, 0, Fraction(1, rate_hz)
    resampler = av.AudioResampler("fltp", layout, _AUDIO_RATE_HZ, frame_size=stream.frame_size)
    for item in (piece, None):
        for part in resampler.resample(item):
            container.mux(stream.encode(part))
    container.mux(stream.encode(None))
