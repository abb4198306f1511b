"""A video's frames one after the other, upright, at the size they are drawn at; nothing is kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from pipeline.prepare.video_file import VideoFile

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """A decoded frame that becomes pixels when they are asked for.

    Attributes:
        time_s: presentation time, seconds from the video's zero.
    """

    time_s: Fraction
    frame: av.VideoFrame
    pixel_aspect: Fraction

    def pixels(self, most_rows: int) -> Pixels:
        """RGB [H, W, 3], upright, with square pixels, scaled down to `most_rows` rows; both sides even, as H.264 with
        4:2:0 colour asks for."""
        turns = round(self.frame.rotation / 90) % 4
        width, height = drawn_size(
            self.frame.width, self.frame.height, self.pixel_aspect, sideways=turns % 2 == 1, most_rows=most_rows
        )
        if turns % 2:
            width, height = height, width
        image = self.frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
        return np.ascontiguousarray(np.rot90(image, turns))


def drawn_size(width: int, height: int, pixel_aspect: Fraction, sideways: bool, most_rows: int) -> tuple[int, int]:
    """Even width and height of the upright picture for a coded frame of `width`×`height`."""
    shown_width, shown_height = Fraction(width) * pixel_aspect, Fraction(height)
    if sideways:
        shown_width, shown_height = shown_height, shown_width
    scale = min(Fraction(1), Fraction(most_rows) / shown_height)
    return _even(shown_width * scale), _even(shown_height * scale)


def demux_decoded(video: VideoFile, *, sound: bool) -> Iterator[Picture | av.AudioFrame]:
    """Pictures (and audio frames where `sound`) in the order of the file, from its beginning. What can't be decoded is
    left out; pictures come in the order of presentation, those without a time not at all."""
    streams: list[av.VideoStream | av.AudioStream] = [video.video, video.audio] if sound else [video.video]
    video.video.codec_context.thread_count = 0  # one video at a time: use the cores there are
    # opening may have looked for the end
    video.container.seek(min(video.video.start_time or 0, 0), stream=video.video)
    for packet in video.container.demux(streams):
        try:
            decoded = packet.stream.codec_context.decode(packet if packet.size else None)
        except av.FFmpegError:
            continue  # a hole in a damaged file: the picture before it stays on screen
        for frame in decoded:
            if isinstance(frame, av.AudioFrame):
                yield frame
            elif frame.pts is not None:
                time_base = Fraction(frame.time_base or video.video.time_base)
                yield Picture(frame.pts * time_base - video.zero, frame, _pixel_aspect(video))


def _pixel_aspect(video: VideoFile) -> Fraction:
    return Fraction(video.video.sample_aspect_ratio or 1) or Fraction(1)


def _even(length: Fraction) -> int:
    return max(int(length) // 2 * 2, 2)
