"""When each frame of a video is displayed, from its packets and without decoding."""

from fractions import Fraction

from pipeline.video.bitstream import is_shown
from pipeline.video.packets import presentation_time, timed_packets
from pipeline.video.video_file import VideoFile


def displayed_times(video: VideoFile) -> list[Fraction]:
    """True presentation time (s from the video's zero) of each frame that is displayed, in order: the n-th is that of
    the n-th frame that a decoder gives, which leaves out those before the first whole one. Reads the whole file."""
    codec = video.video.codec_context.name
    video.seek(int(video.video.start_time or 0) - int(1 / video.tick_s))  # MPEG-TS is sought by decoding time
    ticks = {presentation_time(packet) or 0 for packet in timed_packets(video) if is_shown(packet, codec)}
    times = (tick * video.tick_s - video.zero for tick in sorted(ticks))
    return [time for time in times if time >= video.picture_start_s]
