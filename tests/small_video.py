"""Small videos to localize in: any size, any frame times, with or without sound."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(
    file: Path,
    size: tuple[int, int] = (96, 64),
    times_s: Sequence[float] | None = None,
    sound_s: float | None = 3.0,
    sound_from_s: float = 0.0,
    silent_s: tuple[float, float] | None = None,
) -> Path:
    """A video whose picture brightens with time; `size` is width and height, and in `silent_s` nothing is in the audio
    track."""
    times = [number / 10 for number in range(30)] if times_s is None else times_s
    width, height = size
    odd = width % 2 or height % 2
    with av.open(str(file), "w") as out:
        video = out.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = width, height, "yuv444p" if odd else "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = out.add_stream("aac", rate=16_000, layout="mono") if sound_s else None
        for time in times:
            pixels = np.full((height, width, 3), 40 + int(60 * time) % 180, dtype=np.uint8)
            pixels[: height // 4, : width // 4] = (230, 30, 30)  # red in the upper left corner
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None and sound_s:
            noise = np.random.default_rng(0).normal(0, 0.1, (1, int(16_000 * sound_s))).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, round(sound_from_s * 16_000)
            frame.time_base = Fraction(1, 16_000)
            for packet in [*audio.encode(frame), *audio.encode(None)]:
                if silent_s is None or not silent_s[0] <= packet.pts * packet.time_base < silent_s[1]:
                    out.mux(packet)
    return file


def turn(file: Path) -> Path:
    """Mark an MP4's picture as one to be shown turned by 90° clockwise, as a phone does."""
    content = bytearray(file.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # version 0: flags, times and id, reserved, layer and volume
    one = 1 << 16
    content[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    file.write_bytes(content)
    return file


def frame_times(file: str) -> list[float]:
    with av.open(file) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def sound_span(file: str) -> tuple[float, float]:
    """First and last moment of the sound, in seconds."""
    with av.open(file) as container:
        frames = [(float(frame.time), frame.samples / frame.sample_rate) for frame in container.decode(audio=0)]
    return frames[0][0], frames[-1][0] + frames[-1][1]


def picture_size(file: str) -> tuple[int, int]:
    with av.open(file) as container:
        frame = next(container.decode(video=0))
        return frame.width, frame.height
