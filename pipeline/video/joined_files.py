"""Files that were joined without a tool that knows their format (`cat a.mp4 b.mp4`): a reader shows one of them, and
the others vanish without a word.

Formats that may be joined so (MPEG-TS, MPEG-PS, fragmented MP4) are not looked for here; `one_clock` reads those.
"""

from typing import IO

_MOST_BOXES = 10_000
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_FLV_TAGS = (8, 9, 18)


def next_file_in(file: IO[bytes]) -> int | None:
    """Byte at which another file begins behind the first one; None where there is none, or the format doesn't tell.

    Args:
        file: an open media file, of MP4, MOV, Matroska, WebM, AVI or FLV; others are left alone.
    """
    head = _read(file, 0, 12)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        return _in_boxes(file, head[4:8])
    if head[:4] == _EBML:
        return _behind_segment(file)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _behind_riff(file)
    if head[:3] == b"FLV":
        return _in_tags(file, int.from_bytes(head[5:9], "big"))
    return None


def _in_boxes(file: IO[bytes], first: bytes) -> int | None:
    """A second `ftyp` on the top level of an MP4; a second `moov` in a QuickTime file from before there was `ftyp`."""
    begins = b"ftyp" if first == b"ftyp" else b"moov"
    at = seen = 0
    for _ in range(_MOST_BOXES):
        head = _read(file, at, 16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8 or kind == b"moof":
            return None
        if kind == begins:
            seen += 1
            if seen == 2:
                return at
        at += size
    return None


def _behind_segment(file: IO[bytes]) -> int | None:
    """A second EBML header where the first file's segment ends."""
    at = 0
    for kind in (_EBML, _SEGMENT):
        head = _read(file, at, 12)
        length = _vint(head[4:])
        if head[:4] != kind or length is None:
            return None  # a live stream has a segment of unknown length
        at += 4 + length[0] + length[1]
    return at if _read(file, at, 4) == _EBML else None


def _vint(content: bytes) -> tuple[int, int] | None:
    """Bytes of a variable-length number, and the number; None where it stands for "unknown"."""
    if not content or not content[0]:
        return None
    width = 9 - content[0].bit_length()
    value = int.from_bytes(content[:width], "big") & (1 << 7 * width) - 1
    return None if value == (1 << 7 * width) - 1 else (width, value)


def _behind_riff(file: IO[bytes]) -> int | None:
    """A second list of `AVI ` behind the first one and its continuations."""
    at = 0
    for _ in range(_MOST_BOXES):
        size = int.from_bytes(_read(file, at + 4, 4), "little")
        at += 8 + size + size % 2
        head = _read(file, at, 12)
        if head[:4] != b"RIFF" or head[8:12] not in (b"AVIX", b"AVI "):
            return None
        if head[8:12] == b"AVI ":
            return at
    return None


def _in_tags(file: IO[bytes], at: int) -> int | None:
    """A second header between two tags of an FLV, which has no index to go by: read from beginning to end."""
    at += 4
    while True:
        head = _read(file, at, 11)
        if head[:3] == b"FLV":
            return at
        if len(head) < 11 or head[0] & 0x1F not in _FLV_TAGS:
            return None
        at += 11 + int.from_bytes(head[1:4], "big") + 4


def _read(file: IO[bytes], at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)
