"""Decoding a run of packets with decord.

decord reads the index of a whole file when it opens it, and goes on decoding behind the last frame that was asked for.
So it is given a clip in memory that holds the run's packets and nothing else: what it costs is what the run costs.
"""

import io
from collections.abc import Sequence
from fractions import Fraction

import av

from pipeline.video.decord_library import decord, listening
from pipeline.video.packets import PacketRun
from pipeline.video.video_file import VideoFile

_RATE = 25  # any will do: frames are asked for by number


def decode_with_decord(video: VideoFile, run: PacketRun) -> list[tuple[int, av.VideoFrame]]:
    """(presentation time in ticks, RGB frame with that time) of all the run's wanted frames, in order; none of them if
    anything is wrong.

    Only for runs of which `trust.decord_is_sure`.
    """
    ticks = sorted(packet.pts for packet in run.packets if packet.pts is not None)
    wanted = sorted(set(run.wanted.values()))
    with listening() as complaints:
        try:
            # fault_tol: a frame that decord would replace by an earlier one counts as a failure
            reader = decord.VideoReader(_clip(video.video, run.packets), num_threads=1, fault_tol=1)
            if len(reader) != len(ticks):
                return []
            pictures = reader.get_batch([ticks.index(tick) for tick in wanted]).asnumpy()
        except MemoryError:
            raise
        except Exception:  # of any kind: PyAV decodes it, or says why not
            return []
        del reader  # else it goes on decoding, unheard
    if complaints.count:
        return []
    frames = []
    for tick, picture in zip(wanted, pictures, strict=True):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = tick
        frames.append((tick, frame))
    return frames


def _clip(stream: av.VideoStream, packets: Sequence[av.Packet]) -> io.BytesIO:
    """An MP4 of the packets with a timeline of its own: starts at 0, constant frame rate, no edit list."""
    order = sorted(range(len(packets)), key=lambda index: packets[index].pts or 0)
    rank = {index: place for place, index in enumerate(order)}
    delay = max(index - place for index, place in rank.items())
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        copy = container.add_stream_from_template(stream)
        for index, packet in enumerate(packets):
            piece = av.Packet(bytes(packet))
            piece.stream = copy
            piece.time_base = Fraction(1, _RATE)
            piece.pts, piece.dts, piece.duration = rank[index] + delay, index, 1
            piece.is_keyframe = index == 0
            container.mux(piece)
    buffer.seek(0)
    return buffer
