"""From which packets of a track a decoder can start, and from when on its pictures are then whole.

A container's keyframe flag doesn't tell: MP4 without a table of keyframes flags all packets, others flag places of
gradual refresh, or forget to flag. A decoder that starts elsewhere shows grey or smeared pictures and seldom says so.
What tells is the bitstream, of codecs whose headers are read here, and for others what the decoder makes of a flagged
packet alone.

Three kinds of places count:

- a picture that resets everything: IDR of H.264, H.265 and H.266, keyframes of VP8, VP9 and AV1
- a picture that needs no other, behind which only pictures displayed before it refer to earlier ones: I pictures of
  MPEG-1, MPEG-2 and MPEG-4, CRA and BLA of H.265, CRA of H.266, I pictures of H.264 with a recovery point
- a recovery point of H.264 from which on intra blocks replace the picture piece by piece (intra refresh): pictures are
  whole once as many reference pictures as it says were decoded

Not counted are places after which nothing is promised: I pictures of H.264 without a recovery point, recovery points
that are only approximate, forward keyframes of AV1, intra-only frames of VP9 and AV1, gradual refresh of other codecs.
"""

from typing import NamedTuple

import av
import av.video.frame

from pipeline.video.bitstream import Bits, is_slice, start_codes, units_of, without_emulation

_IRAP = {"hevc": range(16, 22), "vvc": range(7, 10)}
_IDR = {"hevc": range(19, 21), "vvc": range(7, 9)}
_INTRA_SLICES = (2, 4, 7, 9)
_SEI, _IDR_SLICE, _RECOVERY_POINT = 6, 5, 6
_HEAD = 32  # bytes of a slice or a frame that hold what is looked for


class Whole(NamedTuple):
    """Pictures from packet `number` on that are displayed at `time` or later are whole if decoding starts at packet
    `start`; earlier ones too if it `resets` everything."""

    time: int
    number: int
    start: int
    resets: bool = False


class StartPoints:
    """The start points among packets that are added in decoding order; times are in ticks.

    Args:
        codec: the track's decoder, which is used, and flushed, to look at packets of codecs that are not known here.
    """

    def __init__(self, codec: av.VideoCodecContext) -> None:
        self._codec = codec
        known = codec.codec.intra_only or codec.name in ("h264", *_IRAP, *_LOOKS)
        self._name = codec.name if known else None
        self._extradata = codec.extradata
        self._count = 0
        self._unsure: dict[int, av.Packet] = {}
        self._wholes: list[Whole] = []
        self._alone: set[int] = set()
        self._refreshing: list[tuple[int, int]] = []  # (start, reference pictures that it still needs)
        self._tried: dict[int, bool] = {}

    def __len__(self) -> int:
        return self._count

    def add(self, packet: av.Packet, time: int) -> None:
        """The next packet, which is displayed at `time`."""
        number = self._count
        self._count += 1
        if self._name == "h264":
            self._add_h264(packet, time, number)
        elif self._begins(packet):
            self._add_whole(time, number, resets=self._resets(packet))
            if self._name is None:
                self._unsure[number] = packet

    def start_for(self, number: int, time: int, *, gradual: bool = True) -> int | None:
        """Number of the last packet from which packet `number`, displayed at `time`, can be decoded; None if there is
        none.

        Args:
            gradual: whether it may begin a gradual refresh.
        """
        for whole in reversed(self._wholes):
            fits = whole.number <= number and (whole.time <= time or whole.resets)
            fits = fits and (gradual or whole.number == whole.start)
            if fits and self._is_sure(whole.start):
                return whole.start
        return None

    def refresh_of(self, start: int) -> int:
        """How many packets from a start point on aren't whole pictures yet."""
        return next((whole.number - start for whole in self._wholes if whole.start == start), 0)

    def starts_in(self, first: int, last: int) -> int:
        """How many packets from `first` to `last` pictures can be decoded from."""
        return sum(first <= whole.start <= last for whole in self._wholes)

    @property
    def newest(self) -> "Whole | None":
        """What was found last."""
        return self._wholes[-1] if self._wholes else None

    def is_whole_picture(self, number: int) -> bool:
        """Whether a packet is a whole picture by itself."""
        return number in self._alone

    def begun_by(self, frame: av.VideoFrame) -> bool:
        """Whether a frame is whole that came of decoding all packets from the first on, in one go."""
        if self._name is None:
            return _is_intra_frame(frame)
        return frame.pts is not None and any(whole.time <= frame.pts or whole.resets for whole in self._wholes)

    def _add_whole(self, time: int, number: int, *, resets: bool) -> None:
        self._wholes.append(Whole(time, number, number, resets))
        self._alone.add(number)

    def _begins(self, packet: av.Packet) -> bool:
        if self._name is None:
            return bool(packet.is_keyframe)
        if self._name in _IRAP:
            return self._kind_of_picture(packet, self._name) in _IRAP[self._name]
        look = _LOOKS.get(self._name)
        return look is None or look(memoryview(packet))  # no look is needed where every picture is whole by itself

    def _resets(self, packet: av.Packet) -> bool:
        """Whether nothing behind a start point refers to anything before it, even what is displayed earlier."""
        if self._name in _IDR:
            return self._kind_of_picture(packet, self._name) in _IDR[self._name]
        return self._name in ("vp8", "vp9", "av1", "libdav1d")

    def _kind_of_picture(self, packet: av.Packet, codec: str) -> int | None:
        units = units_of(packet, codec, self._extradata)
        return next((unit.kind for unit in units if is_slice(unit.kind, codec)), None)

    def _is_sure(self, start: int) -> bool:
        if start in self._unsure:
            self._tried[start] = _is_intra(self._codec, self._unsure.pop(start))
        return self._tried.get(start, True)

    def _add_h264(self, packet: av.Packet, time: int, number: int) -> None:
        picture = look_at_h264(packet, self._extradata)
        if picture.is_reference:  # no other is waited for, as in FFmpeg, which hides pictures until then
            self._wholes += [Whole(time, number, start) for start, left in self._refreshing if left <= 0]
            self._refreshing = [(start, left - 1) for start, left in self._refreshing if left > 0]
        if picture.recovers_after == 0:
            self._add_whole(time, number, resets=picture.is_idr)
        elif picture.recovers_after is not None:
            self._refreshing.append((number, picture.recovers_after - picture.is_reference))


class H264Picture(NamedTuple):
    """What the first units of a packet of H.264 say.

    Attributes:
        is_reference: whether others may refer to it.
        recovers_after: after how many reference pictures, itself included, the next is whole; 0 if it is whole itself;
            None if nothing says so.
        is_idr: whether everything before it is forgotten.
    """

    is_reference: bool
    recovers_after: int | None
    is_idr: bool = False


def look_at_h264(packet: av.Packet, extradata: bytes | None) -> H264Picture:
    """Whether decoding can start at a packet of H.264."""
    recovery: int | None = None
    exact = False
    is_reference = False
    first = True
    for unit in units_of(packet, "h264", extradata):
        if unit.kind == _SEI and first:
            found = _recovery_point(without_emulation(bytes(unit.content[1:])))
            recovery, exact = found or (recovery, exact)
        elif is_slice(unit.kind, "h264"):
            if unit.kind == _IDR_SLICE:
                return H264Picture(True, 0, is_idr=True)
            is_reference = is_reference or bool(unit.content[0] & 0x60)
            if recovery is None:
                break
            bits = Bits(without_emulation(bytes(unit.content[1:_HEAD])))
            at_block, kind = bits.golomb(), bits.golomb()
            if recovery or (at_block == 0 and not first):  # the second field may refer to the first
                break
            if kind not in _INTRA_SLICES:
                return H264Picture(is_reference, None)
            first = False
    if recovery and not exact:
        recovery = None
    return H264Picture(is_reference, recovery)


def _recovery_point(messages: bytes) -> tuple[int, bool] | None:
    """`recovery_frame_cnt` and `exact_match_flag` of the supplemental enhancement information; None if not in it."""
    at = 0
    while at + 2 <= len(messages):
        numbers = []
        for _ in range(2):  # kind and length, each in bytes of 255 and a rest
            number = 0
            while at < len(messages) and messages[at] == 255:
                number, at = number + 255, at + 1
            numbers.append(number + (messages[at] if at < len(messages) else 0))
            at += 1
        kind, length = numbers
        if kind == _RECOVERY_POINT:
            bits = Bits(messages[at : at + length])
            return bits.golomb(), bool(bits.take(1))
        at += length
    return None


def _is_intra(codec: av.VideoCodecContext, packet: av.Packet) -> bool:
    """Whether a decoder makes a whole picture that needs no other of a packet alone."""
    codec.flush_buffers()
    try:
        frames = [*codec.decode(packet), *codec.decode(None)]
    except av.FFmpegError:
        frames = []
    codec.flush_buffers()
    return any(_is_intra_frame(frame) for frame in frames)


def _is_intra_frame(frame: av.VideoFrame) -> bool:
    is_intra = frame.key_frame or frame.pict_type == av.video.frame.PictureType.I
    return is_intra and not frame.is_corrupt


def _mpeg_2(content: memoryview) -> bool:
    pictures = (place for place, kind in start_codes(content) if kind == 0 and place + 2 < len(content))
    return next((content[place + 2] >> 3 & 7 == 1 for place in pictures), False)


def _mpeg_4(content: memoryview) -> bool:
    pictures = (place for place, kind in start_codes(content) if kind == 0xB6 and place + 1 < len(content))
    return next((content[place + 1] >> 6 == 0 for place in pictures), False)


def _vp8(content: memoryview) -> bool:
    return len(content) > 0 and not content[0] & 1


def _vp9(content: memoryview) -> bool:
    bits = Bits(bytes(content[:2]))
    _, profile = bits.take(2), bits.take(2)
    bits.take(profile == 3)
    shows_existing, is_inter = bits.take(1), bits.take(1)
    return len(content) > 1 and not shows_existing and not is_inter


def _av1(content: memoryview) -> bool:
    at = 0
    while at < len(content):
        kind, extended, has_size = content[at] >> 3 & 15, content[at] >> 2 & 1, content[at] >> 1 & 1
        at += 1 + extended
        length = len(content) - at
        if has_size:
            length, at = _leb128(content, at)
        if kind in (3, 6):  # a frame's header, or a frame
            bits = Bits(bytes(content[at : at + 1]))
            shows_existing, frame_type, is_shown = bits.take(1), bits.take(2), bits.take(1)
            return not shows_existing and frame_type == 0 and bool(is_shown)
        at += length
    return False


def _leb128(content: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(content):
        value |= (content[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if not content[at - 1] & 128:
            break
    return value, at


_LOOKS = {
    "mpeg1video": _mpeg_2,
    "mpeg2video": _mpeg_2,
    "mpeg4": _mpeg_4,
    "vp8": _vp8,
    "vp9": _vp9,
    "libdav1d": _av1,
    "av1": _av1,
}
