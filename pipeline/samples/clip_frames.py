"""Single frames out of a clip, decoding no more than they need.

A decoder can start where nothing later refers to anything earlier: at an IDR picture of H.264 or H.265, a keyframe of
VP8 or VP9, and the beginning. The clips that `ClipEncoder` writes have such a place every second. Other keyframes don't
count: pictures behind an open GOP's refer to those before it, and a decoder that starts there shows wrong ones.
"""

import io
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av

from pipeline.samples.clip import CHECKED
from pipeline.samples.open_media import open_container

_MP4_KINDS = ("mp4", "m4v", "mov", "m4a")
# all is in the header of MP4, so nothing needs to be decoded to find it, which would take 3 ms
_MP4_QUICKLY = {"probesize": "32", "skip_frame": "all"}
_SLICES = {"h264": range(1, 6), "hevc": range(0, 32)}
_IDR = {"h264": (5,), "hevc": (19, 20)}
_RESETTING = ("vp8", "vp9")
_START_CODE = re.compile(b"\x00\x00\x01")


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
        ValueError: the bytes are no video, or its frames have no presentation times.
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
        shown = [packet for packet in self._packets if not packet.is_discard]
        if not shown or any(packet.pts is None for packet in shown):
            raise ValueError(f"expected {kind} whose frames have presentation times, found {len(shown)} frames without")
        self._pts = sorted(packet.pts for packet in shown)
        tick, zero = stream.time_base, zero_of(self._container)
        self.times_s = [float(pts * tick - zero) for pts in self._pts]
        last = max(shown, key=lambda packet: packet.pts)
        rate = stream.average_rate
        lasts = float(last.duration * tick) if last.duration else float(1 / rate) if rate else 0.0
        self.end_s = self.times_s[-1] + lasts
        self._starts = [0, *(n for n, packet in enumerate(self._packets) if n and self._begins_anew(packet))]
        self._start_pts = [self._packets[start].pts for start in self._starts]
        self._next = 0

    def __len__(self) -> int:
        return len(self._pts)

    @property
    def pixel_aspect(self) -> Fraction:
        """How many times as wide as high a pixel is shown; 1 where the file doesn't say."""
        return Fraction(self._stream.sample_aspect_ratio or 1)

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
                start = self._starts[max(0, bisect_right(self._start_pts, wanted) - 1)]
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
        for packet in [*self._packets[start:], None]:
            self._next += 1
            try:
                frames = self._context.decode(packet)
            except av.FFmpegError as error:
                raise ValueError(f"expected a whole clip: {error}") from error
            for frame in frames:
                self.decoded += 1
                if frame.is_corrupt:
                    raise ValueError(f"expected a whole clip, found a damaged frame at {frame.time} s")
                yield frame

    def _begins_anew(self, packet: av.Packet) -> bool:
        """Whether nothing from this packet on refers to anything before it."""
        codec = self._context.name
        if not packet.is_keyframe:
            return False
        if codec not in _IDR:
            return codec in _RESETTING
        kind = next((kind for kind in self._unit_kinds(bytes(packet), codec) if kind in _SLICES[codec]), None)
        return kind in _IDR[codec]

    def _unit_kinds(self, content: bytes, codec: str) -> Iterator[int]:
        """The kind of each NAL unit in a packet, whether lengths or start codes lie between them."""
        extra = self._context.extradata or b""
        width_at = 4 if codec == "h264" else 21
        if extra[:1] == b"\x01" and len(extra) > width_at:
            width = (extra[width_at] & 3) + 1
            at = 0
            while at + width < len(content):
                yield _unit_kind(content[at + width], codec)
                at += width + int.from_bytes(content[at : at + width], "big")
        else:
            for code in _START_CODE.finditer(content):
                if code.end() < len(content):
                    yield _unit_kind(content[code.end()], codec)


def _unit_kind(first: int, codec: str) -> int:
    return first & 31 if codec == "h264" else first >> 1 & 63
