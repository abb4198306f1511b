"""Single frames out of a clip, decoding no more than they need.

A decoder starts at the last place from which the wanted frame is whole, as `pipeline.video.start_points` finds it.
The clips that `ClipEncoder` writes have such a place every second.
"""

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import dropwhile, pairwise

import av

from pipeline.video.bitstream import is_shown
from pipeline.video.clip import CHECKED
from pipeline.video.open_media import open_container
from pipeline.video.start_points import StartPoints
from pipeline.video.upright import Display, PixelAspects, display_of

_MP4_KINDS = ("mp4", "m4v", "mov", "m4a")
# all is in the header of MP4, so nothing needs to be decoded to find it, which would take 3 ms
_MP4_QUICKLY = {"probesize": "32", "skip_frame": "all"}


def open_media(content: bytes, kind: str) -> "av.container.InputContainer":
    """A file in memory; `kind` is what its name ends with.

    Raises:
        ValueError: no video or sound that can be read.
    """
    try:
        if kind in _MP4_KINDS:
            return open_container(io.BytesIO(content), format="mp4", options=_MP4_QUICKLY)
        return open_container(io.BytesIO(content))
    except av.FFmpegError as error:
        raise ValueError(f"expected {kind}: {error}") from error


def zero_of(container: "av.container.InputContainer") -> Fraction:
    """First presentation time of any stream, on the container's clock (s)."""
    starts = [stream.start_time * stream.time_base for stream in container.streams if stream.start_time is not None]
    return Fraction(min(starts, default=Fraction(0)))


class ClipFrames:
    """The frames of a clip, by their number in the order of presentation.

    Args:
        content: the file.
        kind: what its name ends with, `mp4` or any other.

    Attributes:
        times_s: presentation time of each frame, seconds from the file's zero.
        end_s: when the last one ends.
        decoded: how many frames were decoded so far.

    Raises:
        ValueError: the bytes are no video, or its frames have no presentation times, or times that start again.
    """

    def __init__(self, content: bytes, kind: str = "mp4") -> None:
        self.decoded = 0
        self._container = open_media(content, kind)
        video = self._container.streams.video
        if not video or video[0].codec_context is None:
            raise ValueError(f"expected {kind}, found no video in it that can be decoded")
        self._stream = stream = video[0]
        self._context = stream.codec_context
        self._context.thread_count = 1
        self._context.skip_frame = "DEFAULT"
        self._context.options = CHECKED
        try:
            self._packets = [packet for packet in self._container.demux(stream) if packet.size]
        except (
            av.FFmpegError,
            IndexError,
        ) as error:  # IndexError: a track that appears in the middle of a damaged file
            raise ValueError(f"expected {kind}: {error}") from error
        # AVI keeps no presentation times: its n-th frame is displayed at the n-th tick
        self._counts = self._container.format.name == "avi"
        for packet in self._packets if self._counts else ():
            packet.pts = packet.dts
        shown = [packet for packet in self._packets if is_shown(packet, self._context.name)]
        if not shown or any(packet.pts is None for packet in shown):
            raise ValueError(f"expected {kind} whose frames have presentation times, found {len(shown)} frames without")
        times = [packet.dts for packet in self._packets if packet.dts is not None]
        if any(later < earlier for earlier, later in pairwise(times)) or len({p.pts for p in shown}) < len(shown):
            raise ValueError(f"expected {kind} with one clock, found times in it that start again")
        self._aspects = PixelAspects(stream)
        begins = self._find_starts()
        # first pictures that refer to what was cut off are none
        self._pts = list(dropwhile(lambda pts: begins[pts] is None, begins))
        if not self._pts:
            raise ValueError(f"expected {kind} with a keyframe, found none in it")
        self._starts = [begins[pts] for pts in self._pts]
        tick, zero = stream.time_base, zero_of(self._container)
        self.times_s = [float(pts * tick - zero) for pts in self._pts]
        last = max(shown, key=lambda packet: packet.pts)
        rate = stream.average_rate
        lasts = float(last.duration * tick) if last.duration else float(1 / rate) if rate else 0.0
        self.end_s = self.times_s[-1] + lasts
        self._next = 0

    def _find_starts(self) -> dict[int, int | None]:
        """Presentation time of each frame that is shown, in order → number of the packet from which it is decoded."""
        starts = StartPoints(self._context)
        for packet in self._packets:
            starts.add(packet, packet.pts or 0)
        shown = [(packet.pts, n) for n, packet in enumerate(self._packets) if is_shown(packet, self._context.name)]
        if self._counts and self._context.has_b_frames:  # only counting from the first on tells when each is displayed
            first = starts.start_for(0, self._packets[0].pts or 0, gradual=False)
            return {pts: first for pts, _ in sorted(shown)}
        # not from a gradual refresh: a decoder that tells of damage complains there
        return {pts: starts.start_for(n, pts, gradual=False) for pts, n in sorted(shown)}

    def __len__(self) -> int:
        return len(self._pts)

    def display_of(self, frame: av.VideoFrame) -> Display:
        """How a frame that was decoded last is to be shown."""
        return display_of(frame, self._aspects.of(frame))

    def shown_at(self, time_s: float) -> int:
        """Number of the frame that is shown at a time (s from the file's zero); the first also before it."""
        return max(0, bisect_right(self.times_s, time_s + 1e-6) - 1)

    def decode(self, indices: Sequence[int]) -> Iterator[av.VideoFrame]:
        """The frames of these numbers, which ascend; a number may come several times.

        Raises:
            ValueError: there is no such frame, or it, or one that it refers to, is damaged.
        """
        run: Iterator[av.VideoFrame] = iter(())
        self._next = 0
        frame: av.VideoFrame | None = None
        begun = False
        for index in indices:
            if not 0 <= index < len(self._pts):
                raise ValueError(f"expected a clip of {index + 1} frames or more, found {len(self._pts)}")
            wanted = self._pts[index]
            if frame is None or frame.pts != wanted:
                start = self._starts[index]
                if start is None:
                    time_s = self.times_s[index]
                    raise ValueError(f"expected a whole clip, found no keyframe that the one at {time_s:.3f} s needs")
                if not begun or start >= self._next:
                    run, begun = self._decode_from(start), True
                frame = next((found for found in run if found.pts == wanted), None)
                if frame is None:
                    raise ValueError(f"expected a whole clip, found no frame at {self.times_s[index]:.3f} s")
            yield frame

    def _decode_from(self, start: int) -> Iterator[av.VideoFrame]:
        """Frames from a packet on, in the order of presentation."""
        self._context.flush_buffers()
        self._next = start
        ticks = (packet.pts for packet in self._packets[start:])
        for packet in [*self._packets[start:], None]:
            self._next += 1
            if packet is not None:
                self._aspects.see(packet)
            try:
                frames = self._context.decode(packet)
            except av.FFmpegError as error:
                raise ValueError(f"expected a whole clip: {error}") from error
            for frame in frames:
                self.decoded += 1
                if frame.is_corrupt:
                    raise ValueError(f"expected a whole clip, found a damaged frame at {frame.time} s")
                if self._counts:
                    frame.pts = next(ticks)
                yield frame
