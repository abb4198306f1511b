"""A video with its sound and something drawn over it: H.264 and AAC in an MP4."""

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from pipeline.evaluate.overlay.video_stream import DecodedPicture, Pixels, demux_decoded
from pipeline.sound.channels import LAYOUTS, mix
from pipeline.sound.sound_frames import JITTER_S
from pipeline.video.video_file import VideoFile, open_video

_CLOCK = Fraction(1, 90_000)
"""Ticks of the written video: fine enough for any frame rate, also a variable one."""
_MOST_ROWS = 720
_AAC_RATES_HZ = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_MOST_APART_S = 10
"""By which sound may lie behind the pictures of the same time in a file."""
Draw = Callable[[Pixels, float], Pixels]
"""What a frame [H, W, 3] becomes that is displayed at a time (s from the video's zero)."""


def write_overlay_video(
    source: str,
    draw: Draw,
    target: Path,
    on_progress: Callable[[float, float], None],
    until_s: float = math.inf,
) -> None:
    """Write `target`: every frame of the source at its own time, at most 720 rows high, with what is drawn over it, and
    the sound.

    Memory does not grow with the length of the video.

    Args:
        until_s: where the written video ends, s from the source's zero.
    """
    with open_video(source) as video, av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as out:
        writer = _Writer(out, video, draw)
        end_s = min(float(video.duration_s), until_s)
        for item in demux_decoded(video, sound=True):
            if isinstance(item, DecodedPicture):
                if item.time_s < until_s:
                    writer.write_picture(item)
                    on_progress(float(item.time_s), end_s)
                elif item.time_s > until_s + _MOST_APART_S:
                    break
            elif (item.pts or 0) * Fraction(item.time_base or 1) - video.zero < until_s:
                writer.write_sound(item)
        writer.finish()


class _Writer:
    """The output's two tracks; the picture's size is known with the first frame."""

    def __init__(self, out: av.container.OutputContainer, video: VideoFile, draw: Draw) -> None:
        self.out, self.video, self.draw = out, video, draw
        rate = Fraction(video.video.average_rate or video.video.guessed_rate or 25)
        self.pictures = out.add_stream("libx264", rate=rate.limit_denominator(60_000))
        self.pictures.pix_fmt = "yuv420p"
        self.pictures.codec_context.time_base = _CLOCK
        self.pictures.options = {"preset": "veryfast", "crf": "20"}
        source = video.audio.codec_context
        sound_rate = source.sample_rate if source.sample_rate in _AAC_RATES_HZ else 48_000
        self.channels = min(source.channels, 2)
        self.sound = out.add_stream("aac", rate=sound_rate, layout=LAYOUTS[self.channels])
        self.sound.bit_rate = 128_000
        self.size: tuple[int, int] | None = None
        self.last_tick = -1
        self.waiting: list[av.AudioFrame] = []
        self.resampler: av.AudioResampler | None = None
        self.resampled_hz = 0
        self.sound_end: int | None = None

    def write_picture(self, picture: DecodedPicture) -> None:
        tick = round(picture.time_s / _CLOCK)
        if tick <= self.last_tick:
            return  # before the video's zero, or at the same time as the last one
        self.last_tick = tick
        pixels = picture.pixels(_MOST_ROWS)
        height, width = pixels.shape[:2]
        if self.size is None:
            self.size = (width, height)
            self.pictures.width, self.pictures.height = width, height
            for frame in self.waiting:
                self._encode_sound(frame)
            self.waiting.clear()
        frame = av.VideoFrame.from_ndarray(self.draw(pixels, float(picture.time_s)), format="rgb24")
        if (width, height) != self.size:  # some streams change their size on the way
            frame = frame.reformat(width=self.size[0], height=self.size[1])
        frame.pts, frame.time_base = tick, _CLOCK
        self.out.mux(self.pictures.encode(frame))

    def write_sound(self, frame: av.AudioFrame) -> None:
        tick = Fraction(frame.time_base or self.video.audio.time_base)
        frame.pts -= round(self.video.zero / tick)
        if frame.pts * tick + Fraction(frame.samples, frame.sample_rate) <= 0:
            return
        if self.size is None:
            self.waiting.append(frame)  # the file can't be begun before the picture's size is known
        else:
            self._encode_sound(frame)

    def finish(self) -> None:
        if self.size is not None:
            self._resample_from(0)
            self.out.mux(self.pictures.encode(None))
            self.out.mux(self.sound.encode(None))

    def _encode_sound(self, frame: av.AudioFrame) -> None:
        """Whatever channels and rate the frame has, which may change on the way."""
        mixed = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(mix(frame, self.channels)), format="fltp", layout=LAYOUTS[self.channels]
        )
        mixed.sample_rate, mixed.pts, mixed.time_base = frame.sample_rate, frame.pts, frame.time_base
        if frame.sample_rate != self.resampled_hz:
            self._resample_from(frame.sample_rate)
        for piece in [mixed] if self.resampler is None else self.resampler.resample(mixed):
            self._append(piece)

    def _append(self, piece: av.AudioFrame) -> None:
        """Sound at the written rate where its time says, without what of it lies over the sound before. The encoder
        goes on without a hole, whatever times it is given, so holes are written as silence."""
        own = piece.sample_rate
        start = round(piece.pts * piece.time_base * own)
        end = start if self.sound_end is None else self.sound_end
        if abs(start - end) <= JITTER_S * own:
            start = end
        while end < start:
            silence = np.zeros((self.channels, min(own, start - end)), np.float32)
            self._encode(silence, end)
            end += silence.shape[1]
        rest = piece.to_ndarray()[:, end - start :]
        if rest.shape[1]:
            self._encode(rest, end)
        self.sound_end = end + rest.shape[1]

    def _encode(self, audio: npt.NDArray[np.float32], start: int) -> None:
        layout, own = LAYOUTS[self.channels], self.sound.codec_context.sample_rate
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = own, start, Fraction(1, own)
        self.out.mux(self.sound.encode(frame))

    def _resample_from(self, rate_hz: int) -> None:
        """Get ready for frames of another rate; 0 where there are no more."""
        for piece in self.resampler.resample(None) if self.resampler is not None else ():
            self._append(piece)
        own = self.sound.codec_context.sample_rate
        kept = rate_hz in (0, own)
        self.resampler = None if kept else av.AudioResampler("fltp", LAYOUTS[self.channels], own)
        self.resampled_hz = rate_hz
