"""A video's frames one after the other, upright, at the size they are drawn at; nothing is kept."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from pipeline.sound.sound_clock import SoundClock
from pipeline.video.packets import presentation_time
from pipeline.video.start_points import StartPoints
from pipeline.video.track_extent import tick_of
from pipeline.video.upright import Display, display_of
from pipeline.video.video_file import VideoFile

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DecodedPicture:
    """A decoded frame that becomes pixels when they are asked for.

    Attributes:
        time_s: presentation time, seconds from the video's zero.
    """

    time_s: Fraction
    frame: av.VideoFrame
    display: Display

    def pixels(self, most_rows: int) -> Pixels:
        """RGB [H, W, 3], upright, with square pixels, scaled down to `most_rows` rows; both sides even, as H.264 with
        4:2:0 colour asks for."""
        sides = self.display.scaled_size(self.frame.width, self.frame.height, most_rows)
        width, height = map(_even, sides)
        image = self.frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
        return np.ascontiguousarray(self.display.upright(image))


def demux_decoded(video: VideoFile, *, sound: bool) -> Iterator[DecodedPicture | av.AudioFrame]:
    """Pictures (and audio frames where `sound`) in the order of the file, from its beginning. What can't be decoded is
    left out, and what refers to pictures before the file's first; pictures come in the order of presentation, those
    without a time not at all."""
    streams: list[av.VideoStream | av.AudioStream] = [video.video, video.audio] if sound else [video.video]
    if not video.video.codec_context.is_open:  # one that was tried on a first picture keeps its one thread
        video.video.codec_context.thread_count = 0  # one video at a time: use the cores there are
    video.seek(min(int(video.video.start_time or 0), 0))  # opening may have looked for the end
    clock = SoundClock(tick_of(video.audio), video.container.format.name)
    starts = StartPoints(video.video.codec_context)
    begun = False
    ticks: list[int] = []
    for packet in video.container.demux(streams):
        if packet.stream is video.video and packet.size:
            if video.has_no_times and packet.dts is not None:
                packet.pts = None
                heapq.heappush(ticks, packet.dts)
            if not begun:
                starts.add(packet, presentation_time(packet) or 0)
            video.pixel_aspects.see(packet)
        if packet.stream is video.audio:
            clock.expect(packet)
        try:
            decoded = packet.stream.codec_context.decode(packet if packet.size else None)
        except av.FFmpegError:
            if packet.stream is video.video and packet.dts in ticks:
                ticks.remove(packet.dts)
                heapq.heapify(ticks)
            continue  # a hole in a damaged file: the picture before it stays on screen
        for frame in decoded:
            if isinstance(frame, av.AudioFrame):
                if frame.pts is not None or clock.end_s is not None:
                    frame.pts, _ = clock.tick_of(frame)
                    frame.time_base = tick_of(video.audio)
                    yield frame
                continue
            if ticks:
                frame.pts = heapq.heappop(ticks)
            begun = begun or starts.begun_by(frame)
            if begun and frame.pts is not None:
                time_base = Fraction(frame.time_base or video.video.time_base)
                display = display_of(frame, video.pixel_aspects.of(frame))
                yield DecodedPicture(frame.pts * time_base - video.zero, frame, display)


def _even(length: Fraction) -> int:
    return max(int(length) // 2 * 2, 2)
