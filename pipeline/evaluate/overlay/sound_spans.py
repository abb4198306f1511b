"""When a video sounds."""

from fractions import Fraction

import av

from pipeline.video.track_extent import packets_of, tick_of
from pipeline.video.video_file import open_video

_GAP_S = Fraction(1, 10)
"""Longest gap between two pieces of sound that is no hole: what windows of sound may have in them too."""


def sound_spans(source: str) -> list[tuple[float, float]]:
    """Begin and end (s from the video's zero) of each stretch of sound that can be decoded, in order: more than one
    where the track has holes. Silence that is in the track is sound.

    Raises:
        MediaError: the source is no video with sound.
    """
    spans: list[tuple[Fraction, Fraction]] = []
    with open_video(source) as video:
        tick = tick_of(video.audio)
        end: Fraction | None = None
        for packet in packets_of(video.container, video.audio):
            try:
                frames = video.audio.codec_context.decode(packet if packet.size else None)
            except av.FFmpegError:
                continue  # a hole
            for frame in frames:
                if frame.pts is not None:
                    begin = frame.pts * Fraction(frame.time_base or tick) - video.zero
                elif end is not None:
                    begin = end
                else:
                    continue  # of a time that nobody knows
                end = begin + Fraction(frame.samples, frame.sample_rate)
                if spans and begin <= spans[-1][1] + _GAP_S:
                    spans[-1] = (spans[-1][0], max(spans[-1][1], end))
                else:
                    spans.append((begin, end))
    return [(float(begin), float(end)) for begin, end in spans]
