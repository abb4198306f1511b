"""Videos whose frames carry their own number as a bar code and whose audio clicks at known times."""

import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

BITS = 14
RATE_HZ = 44100


def barcode(number: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """A frame [H, W, 3] with `number` as black and white columns in its upper half, noise that moves below."""
    picture = np.full((height, width, 3), 90, np.uint8)
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        picture[: height // 2, left:right] = 235 if number >> bit & 1 else 16
    texture = (np.arange(width)[None, :] * 3 + np.arange(height - height // 2)[:, None] * 5 + number * 7) % 200
    picture[height // 2 :] = texture[..., None].astype(np.uint8)
    return picture


def read_barcode(picture: npt.NDArray[np.uint8]) -> int:
    """The number that a frame [H, W, 3] carries."""
    height, width = picture.shape[:2]
    row = picture[height // 8 : height * 3 // 8].mean(axis=(0, 2))
    columns = [row[bit * width // BITS + 2 : (bit + 1) * width // BITS - 2].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, level in enumerate(columns) if level > 125)


def clicks(seconds: float, times_s: Sequence[float], rate_hz: int = RATE_HZ) -> npt.NDArray[np.float32]:
    """Quiet noise [1, S] with a short loud burst at each of `times_s`."""
    audio = np.random.default_rng(1).normal(0, 0.003, (1, round(seconds * rate_hz))).astype(np.float32)
    burst = np.hanning(rate_hz // 250).astype(np.float32) * 0.8
    for time in times_s:
        start = round(time * rate_hz) - len(burst) // 2
        if 0 <= start <= audio.shape[1] - len(burst):
            audio[0, start : start + len(burst)] += burst * np.sin(np.arange(len(burst)) * 0.4).astype(np.float32)
    return audio


def write_video(
    path: Path,
    seconds: float = 16.0,
    *,
    fps: int = 25,
    codec: str | None = "libx264",
    audio_codec: str | None = "aac",
    gop: int = 30,
    options: dict[str, str] | None = None,
    size: tuple[int, int] = (280, 160),
    start_s: float = 0.0,
    frame_times: Sequence[int] | None = None,
    audio: npt.NDArray[np.float32] | None = None,
    rotation: int = 0,
    pixel_aspect: Fraction | None = None,
    container_options: dict[str, str] | None = None,
    frames_per_second_clock: bool = False,
    first_number: int = 0,
    coded_as: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]] = lambda picture: picture,
) -> Path:
    """Write a video with a frame a number, in `fps` frames a second, or at `frame_times` (ticks of 1/1000 s).

    `coded_as` makes of each picture [H, W, 3] the one that is stored.

    The encoder's clock counts milliseconds, or frames, which AVI needs, where every tick is a frame.
    """
    ticks = frame_times or [round(number * 1000 / fps) for number in range(round(seconds * fps))]
    audio = clicks(seconds, np.arange(0.5, seconds, 0.5).tolist()) if audio is None else audio
    rate_hz = 48000 if audio_codec == "libopus" else RATE_HZ
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        video = sound = None
        if codec is not None:
            chosen = {**_fast(codec, gop), **(options or {})}
            if codec == "libx264":  # whose macroblock tree writes other bytes now and then, see pipeline.video.clip
                chosen["x264-params"] += ":mbtree=0"
            video = container.add_stream(codec, rate=fps, options=chosen)
            height, width = coded_as(barcode(0, *size)).shape[:2]
            video.width, video.height, video.pix_fmt, video.gop_size = width, height, "yuv420p", gop
            video.codec_context.time_base = Fraction(1, fps if frames_per_second_clock else 1000)
            if pixel_aspect is not None:
                video.codec_context.sample_aspect_ratio = pixel_aspect
            if rotation:
                video.set_display_rotation(rotation)
        if audio_codec is not None:
            sound = container.add_stream(audio_codec, rate=rate_hz, layout="mono")
            if audio_codec == "wmav2":  # has no default
                sound.bit_rate = 96000
        if video is not None:
            for number, tick in enumerate(ticks):
                picture = coded_as(barcode(first_number + number, *size))
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts, frame.time_base = tick + round(start_s * 1000), Fraction(1, 1000)
                if frames_per_second_clock:
                    frame.pts, frame.time_base = number, Fraction(1, fps)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if sound is not None:
            piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = RATE_HZ, round(start_s * RATE_HZ), Fraction(1, RATE_HZ)
            kind = "fltp" if audio_codec in ("aac", "libmp3lame", "wmav2") else "s16"
            resampler = av.AudioResampler(kind, "mono", rate_hz, frame_size=sound.frame_size)
            for item in (piece, None):
                for part in resampler.resample(item):
                    container.mux(sound.encode(part))
            container.mux(sound.encode(None))
    if codec == "libsvtav1":  # as root it gives its caller real-time priority, before all others on the machine
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def _fast(codec: str, gop: int) -> dict[str, str]:
    return {
        "libx264": {"preset": "veryfast", "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0", "crf": "20"},
        "libx265": {
            "preset": "ultrafast",
            "x265-params": f"keyint={gop}:bframes=4:scenecut=0:log-level=none",
            "crf": "20",
        },
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "b": "1M"},
        "libvpx": {"deadline": "realtime", "cpu-used": "8", "b": "2M", "auto-alt-ref": "1", "lag-in-frames": "16"},
        "libsvtav1": {"preset": "8", "crf": "12", "svtav1-params": f"keyint={gop}:enable-tf=0"},
        "mpeg4": {"b": "3M", "bf": "2"},
        "mpeg2video": {"b": "4M"},
        "mpeg1video": {"b": "4M"},
        "h263": {"b": "3M"},
        "wmv2": {"b": "3M"},
        "msmpeg4": {"b": "3M"},
    }.get(codec, {})


def bursts(audio: npt.NDArray[np.int16], rate_hz: int, *, whole: bool = False) -> list[float]:
    """Centres (s) of the loud bursts in audio [S]; with `whole` without those that its ends cut."""
    power = np.square(audio.astype(np.float64))
    loud = np.flatnonzero(power > power.max() * 0.1)
    centres = []
    while loud.size:
        burst = loud[loud < loud[0] + rate_hz // 50]
        if not whole or (burst[0] > rate_hz // 100 and burst[-1] < len(audio) - rate_hz // 100):
            centres.append(float((burst * power[burst]).sum() / power[burst].sum() / rate_hz))
        loud = loud[len(burst) :]
    return centres
