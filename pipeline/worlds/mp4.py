"""Writing a video: H.264 (closed GOP of at most one second) and AAC in an MP4."""

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from pipeline.worlds.settings import WorldSettings

Shot = tuple[npt.NDArray[np.uint8], int]
"""A picture [size, size, 3] and how many frames show it."""


def encode_mp4(shots: Iterable[Shot], sound: npt.NDArray[np.int16], settings: WorldSettings, noise_seed: int) -> bytes:
    """A video of `shots` with sensor noise, and `sound` [S] int16 at the settings' rate.

    The same arguments give the same pixels.
    """
    buffer = io.BytesIO()
    size = settings.frame_size
    options = {"fflags": "+bitexact"}
    with av.open(buffer, "w", format="mp4", container_options=options) as container:
        video = container.add_stream("libx264", rate=settings.fps)
        video.width, video.height, video.pix_fmt = size, size, "yuv420p"
        video.codec_context.gop_size = settings.fps
        video.codec_context.thread_count = 1
        # x264 closes its GOPs by default; its macroblock tree reads memory that nobody wrote, see pipeline.video.clip
        video.options = {"preset": "veryfast", "crf": str(settings.crf), "x264-params": "mbtree=0"}
        audio = container.add_stream("aac", rate=settings.audio_rate_hz, layout="mono")
        audio.bit_rate = 3 * settings.audio_rate_hz
        audio.options = {"aac_coder": "fast"}  # half the time of the default search
        for stream in (video, audio):
            stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for number, planes in enumerate(_frames(shots, settings, noise_seed)):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, settings.fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        piece = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
        piece.sample_rate, piece.pts = settings.audio_rate_hz, 0
        container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
    return buffer.getvalue()


def _frames(shots: Iterable[Shot], settings: WorldSettings, noise_seed: int) -> Iterator[npt.NDArray[np.uint8]]:
    """The frames as yuv420p planes [size · 3/2, size]. Noise is one drawn tile, moved from frame to frame: cheap, and
    still fresh to every pixel."""
    random = np.random.default_rng([noise_seed, 1])
    size = settings.frame_size
    tile = random.standard_normal((size, size), np.float32) * np.float32(settings.sensor_noise)
    for image, count in shots:
        still = av.VideoFrame.from_ndarray(image, format="rgb24").to_ndarray(format="yuv420p")
        light = still[:size].astype(np.float32)
        for _ in range(count):
            frame = still.copy()
            if settings.sensor_noise:
                shift = random.integers(0, size, 2)
                noisy = light + np.roll(tile, (int(shift[0]), int(shift[1])), axis=(0, 1))
                frame[:size] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
            yield frame
