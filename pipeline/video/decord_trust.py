"""The rule by which decord or PyAV decodes a run of packets.

decord finds a frame by counting, so it is right only where packets and displayed frames are one to one and in an order
that follows from their times. Where any of this is unsure, PyAV decodes and every frame carries its own time:

- open GOP: pictures behind a keyframe that are displayed before it (decord is off by up to three frames)
- hidden frames (VP8), AV1 (PyAV can't copy it into the clip that decord gets), and codecs that were not tested
- packets without times, with equal times, cut by an edit list, or marked damaged
- packets that change the codec's parameters, since decord's clip has only one set of them
- interlaced pictures, ones that aren't upright as they are, and pixel formats other than 8 bit 4:2:0
- runs that begin in a gradual refresh, or with more than one start point in them

Where FFmpeg inside decord complains while it decodes, or can't be heard, PyAV decodes too: decord hands out damaged
frames as if they were whole.

All wanted frames of a run are asked of decord at once, since it decodes ahead without a limit between two questions
(five frames of one 1080p run: 1.2 GB instead of 170 MB). A run with so many wanted frames that they fill the memory is
PyAV's too, which hands them out one by one.
"""

from pipeline.video.decord_library import can_be_heard
from pipeline.video.packets import PacketRun
from pipeline.video.pyav_frames import Look
from pipeline.video.video_file import VideoFile

_CODECS = {"h264", "hevc", "vp9", "mpeg4"}
_PIXELS = {"yuv420p", "yuvj420p"}
_MOST_BYTES = 64_000_000
_MOST_BYTES_AHEAD = 600_000_000


def decord_is_sure(video: VideoFile, run: PacketRun, look: Look) -> bool:
    """Whether decord's frame n of `run` is its n-th in the order of presentation."""
    if not can_be_heard or video.video.codec_context.name not in _CODECS:
        return False
    if look.display.moves_pixels or look.interlaced or look.pixel_format not in _PIXELS:
        return False
    if any(packet.pts is None or packet.is_discard or packet.is_corrupt for packet in run.packets):
        return False
    if any(packet.has_sidedata("new_extradata") for packet in run.packets):
        return False
    times: list[int] = [packet.pts for packet in run.packets if packet.pts is not None]
    if run.refresh or run.starts != 1 or len(set(times)) != len(times) or times[0] != min(times):
        return False
    frame_bytes = int(video.video.width) * int(video.video.height) * 3
    # where its reader's thread is slower than its decoder's, decord holds all frames of the run: 1.6 GB were seen
    if len(run.packets) * frame_bytes > _MOST_BYTES_AHEAD:
        return False
    return len(set(run.wanted.values())) * frame_bytes <= _MOST_BYTES
