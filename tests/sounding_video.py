"""Videos whose sound is known to the last sample, in any channels and at any rate."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]


def low_and_high(seconds: float, rate_hz: int, channels: int) -> tuple[Float, Float]:
    """Two sounds [C, S] that share no frequencies, one below and one above 700 Hz; each channel has another level."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    levels = (np.arange(channels)[:, None] + 1) / channels
    low, high = np.sin(2 * np.pi * 180 * times), np.sin(2 * np.pi * 2300 * times)
    return (0.3 * levels * low).astype(np.float32), (0.2 * levels * high).astype(np.float32)


def write_video(
    file: Path,
    sound: Float | None,
    layout: str = "mono",
    rate_hz: int = 16_000,
    times_s: Sequence[float] = tuple(number / 10 for number in range(30)),
    size: tuple[int, int] = (64, 64),
    sound_from_s: float = 0.0,
) -> Path:
    """A grey video in Matroska with lossless sound [C, S]."""
    with av.open(str(file), "w", format="matroska") as out:
        video = out.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = None if sound is None else out.add_stream("flac", rate=rate_hz, layout=layout, format="s32")
        for time in times_s:
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 120, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None and sound is not None:
            levels = (np.rint(sound * (1 << 23)).astype(np.int32) << 8).T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(levels), format="s32", layout=layout)
            frame.sample_rate, frame.pts = rate_hz, round(sound_from_s * rate_hz)
            frame.time_base = Fraction(1, rate_hz)
            for packet in [*audio.encode(frame), *audio.encode(None)]:
                out.mux(packet)
    return file


def read_sound(file: str | Path) -> tuple[Float, int, str]:
    """The sound [C, S] of a WAV or FLAC file, its rate, and what its channels are called."""
    with av.open(str(file)) as container:
        stream = container.streams.audio[0]
        layout, rate_hz = stream.codec_context.layout, stream.codec_context.sample_rate
        pieces = [frame.to_ndarray().reshape(-1, layout.nb_channels).T for frame in container.decode(stream)]
    return (np.concatenate(pieces, axis=1) / 2**31).astype(np.float32), rate_hz, layout.name
