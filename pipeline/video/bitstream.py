"""What the bytes of a packet say without being decoded: NAL units, start codes, and the headers of a sequence."""

import re
from collections.abc import Container, Iterator
from typing import NamedTuple

import av

_START_CODE = re.compile(b"\x00\x00\x01")
_LENGTH_AT = {"h264": 4, "hevc": 21, "vvc": 0}
_SEQUENCE_UNITS = {"h264": 7, "hevc": 33, "vvc": 15}
# (where it begins, what comes behind it): sequence header of MPEG-1 and MPEG-2, group of pictures or picture; video
# object layer of MPEG-4, group or picture; sequence header of VC-1, entry point or frame
_SEQUENCE_CODES: dict[str, tuple[Container[int], Container[int]]] = {
    "mpeg1video": ((0xB3,), (0xB8, 0x00)),
    "mpeg2video": ((0xB3,), (0xB8, 0x00)),
    "mpeg4": (range(0x20, 0x30), (0xB3, 0xB6)),
    "vc1": ((0x0F,), (0x0E, 0x0D)),
}


class Unit(NamedTuple):
    """A NAL unit.

    Attributes:
        kind: its `nal_unit_type`.
        content: its bytes, header included, emulation prevention too.
    """

    kind: int
    content: memoryview


def units_of(packet: av.Packet, codec: str, extradata: bytes | None) -> Iterator[Unit]:
    """The NAL units of a packet of H.264, H.265 or H.266 (`h264`, `hevc`, `vvc`), one by one as they are asked for.

    Args:
        extradata: the decoder's configuration; it tells whether lengths or start codes lie between the units.
    """
    content = memoryview(packet)
    width = _length_width(codec, extradata or b"")
    if width is None:
        codes = _START_CODE.finditer(content)
        code = next(codes, None)
        while code is not None:
            later = next(codes, None)
            yield from _unit(content[code.end() : later.start() if later else len(content)], codec)
            code = later
        return
    at = 0
    while at + width < len(content):
        length = int.from_bytes(content[at : at + width], "big")
        yield from _unit(content[at + width : at + width + length], codec)
        at += width + length


def without_emulation(content: bytes) -> bytes:
    """The payload of a NAL unit: without the bytes that keep a start code from appearing in it."""
    return content.replace(b"\x00\x00\x03", b"\x00\x00")


def sequence_header(packet: av.Packet, codec: str, extradata: bytes | None) -> bytes:
    """The header in a packet that says size and pixel aspect of the pictures from there on; empty where it has none."""
    if packet.has_sidedata("new_extradata"):
        return bytes(packet.get_sidedata("new_extradata"))
    if codec in _SEQUENCE_UNITS:
        for unit in units_of(packet, codec, extradata):
            if unit.kind == _SEQUENCE_UNITS[codec]:
                return bytes(unit.content)
            if is_slice(unit.kind, codec):
                break
    elif codec in _SEQUENCE_CODES:
        begins, ends = _SEQUENCE_CODES[codec]
        content, begin = memoryview(packet), None
        for place, kind in start_codes(content):
            if begin is None and kind in begins:
                begin = place
            if kind in ends:
                return b"" if begin is None else bytes(content[begin:place])
    return b""


def start_codes(content: memoryview) -> Iterator[tuple[int, int]]:
    """(place of the byte behind it, that byte) of each start code, as MPEG-1, MPEG-2, MPEG-4 and VC-1 have them."""
    for code in _START_CODE.finditer(content):
        if code.end() < len(content):
            yield code.end(), content[code.end()]


def is_slice(kind: int, codec: str) -> bool:
    """Whether a NAL unit of this kind holds part of a picture."""
    if codec == "h264":
        return 1 <= kind <= 5
    return kind < 32 if codec == "hevc" else kind < 12


def is_shown(packet: av.Packet, codec: str) -> bool:
    """Whether a packet's picture is displayed: not cut off by an edit list, nor a hidden reference of VP8."""
    if packet.is_discard:
        return False
    # VP8 puts hidden reference frames into packets of their own; bit 4 of the first byte is its show_frame flag
    return codec != "vp8" or bool(memoryview(packet)[0] & 0x10)


class Bits:
    """Bits of a header, read one after the other; behind its end there are zeros."""

    def __init__(self, content: bytes) -> None:
        self._value = int.from_bytes(content, "big")
        self._left = 8 * len(content)

    def take(self, count: int) -> int:
        """An unsigned number of `count` bits."""
        self._left -= count
        if self._left < 0:
            return 0
        return self._value >> self._left & (1 << count) - 1

    def golomb(self) -> int:
        """An unsigned number in the Exp-Golomb code, `ue(v)` of H.264."""
        zeros = 0
        while self._left > 0 and not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


def _length_width(codec: str, extradata: bytes) -> int | None:
    """Bytes of the length before each NAL unit; None where start codes lie between them."""
    at = _LENGTH_AT[codec]
    if len(extradata) <= max(at, 3) or extradata[:3] in (b"\x00\x00\x00", b"\x00\x00\x01"):
        return None
    return (extradata[at] >> (1 if codec == "vvc" else 0) & 3) + 1


def _unit(content: memoryview, codec: str) -> Iterator[Unit]:
    if codec == "h264" and len(content) > 0:
        yield Unit(content[0] & 31, content)
    elif codec == "hevc" and len(content) > 1:
        yield Unit(content[0] >> 1 & 63, content)
    elif codec == "vvc" and len(content) > 1:
        yield Unit(content[1] >> 3, content)
