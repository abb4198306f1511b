"""The files in a tar, one header at a time, without reading what lies between the headers.

Takes a third of the time of Python's tarfile. It knows ustar, PAX names and sizes, and GNU's long names. No header is
believed: whatever a tar holds, following it ends after as many steps as it has blocks, with names of bounded length.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

BLOCK = 512
_EMPTY = bytes(BLOCK)
_REGULAR = (b"0", b"\0", b"7")
# links, devices and folders have no content, whatever their size says
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")
_MOST_EXTENSION = 1 << 20
_MOST_NAME = 4096  # no path is longer on Linux
_MOST_DIGITS = 20  # of 2^64; Python refuses to read numbers of many thousands
_OCTAL = re.compile(rb" *([0-7]*) *").fullmatch


class DamagedTarError(ValueError):
    """The headers can't be followed any further.

    Attributes:
        at: byte of the header that is wrong, or of the file that is cut off.
    """

    def __init__(self, at: int, problem: str) -> None:
        super().__init__(f"byte {at}: {problem}")
        self.at = at


class Member(NamedTuple):
    """A regular file in a tar.

    Attributes:
        start: byte at which its headers begin, PAX and GNU extensions included.
        data, size: where its content lies.
        end: byte behind it, where the next header begins.
    """

    name: str
    start: int
    data: int
    size: int
    end: int


def walk(read: Callable[[int, int], bytes], length: int) -> Iterator[Member]:
    """The regular files of a tar of `length` bytes, in order. `read(at, bytes)` is asked for headers only.

    Raises:
        DamagedTarError: a wrong header, or the tar ends inside a file. What was given before is whole.
    """
    at = start = 0
    name: str | None = None
    size: int | None = None
    while at < length:
        header = read(at, BLOCK)
        if len(header) < BLOCK:
            raise DamagedTarError(at, "the tar ends inside a header")
        if header == _EMPTY:
            return
        kind = header[156:157]
        content = _check(header, at)
        if size is not None and kind not in (b"x", b"g", b"L", b"K"):
            content = size
        held = 0 if kind in _WITHOUT_CONTENT else content
        data, end = at + BLOCK, at + BLOCK + held + -held % BLOCK
        if data + held > length:
            raise DamagedTarError(at, "the tar ends inside a file")
        if kind in (b"x", b"L"):
            if content > _MOST_EXTENSION:
                raise DamagedTarError(at, f"expected a name, found {content} bytes")
            extension = read(data, content)
            if kind == b"L":
                name = _text(extension.split(b"\0", 1)[0])
            else:
                records = _pax_records(extension, at)
                name = records.get("path", name)
                size = _pax_size(records, at)
            if name is not None and len(name) > _MOST_NAME:
                raise DamagedTarError(at, f"expected a name of at most {_MOST_NAME} letters, found {len(name)}")
        elif kind not in (b"g", b"K"):
            if kind in _REGULAR:
                yield Member(_name(header) if name is None else name, start, data, held, end)
            elif kind not in _WITHOUT_CONTENT:
                raise DamagedTarError(at, f"expected a file, found an entry of kind {kind!r}")
            name, size, start = None, None, end
        at = end


def _check(header: bytes, at: int) -> int:
    """The size that a header tells, once its checksum is right."""
    told = _octal(header[148:156])
    if told is None:
        raise DamagedTarError(at, "expected the header of a file, found something else")
    # the checksum's own field counts as eight spaces
    found = sum(header) - sum(header[148:156]) + 256
    if found != told and found - 256 * sum(byte > 127 for byte in header[:148] + header[156:]) != told:
        raise DamagedTarError(at, "expected the header of a file, found a wrong checksum")
    field = header[124:136]
    if field[0] == 0x80:  # GNU's binary form of large sizes
        return int.from_bytes(field[1:], "big")
    size = _octal(field)
    if size is None:  # a size below 0 in GNU's form too
        raise DamagedTarError(at, f"expected the size of a file, found {field!r}")
    return size


def _octal(field: bytes) -> int | None:
    """A number in octal digits up to the first zero byte; None where there is something else, a sign also."""
    digits = _OCTAL(field.split(b"\0", 1)[0])
    return None if digits is None else int(digits[1] or b"0", 8)


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and header[345]:
        name = header[345:500].split(b"\0", 1)[0] + b"/" + name
    return _text(name)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _pax_records(extension: bytes, at: int) -> dict[str, str]:
    """`length key=value\\n`, again and again."""
    records = {}
    extension = extension.rstrip(b"\0")
    place = 0
    while place < len(extension):
        digits = extension[place : place + _MOST_DIGITS].split(b" ", 1)[0]
        end = place + (int(digits) if digits.isdigit() else 0)
        key, equals, value = extension[place + len(digits) + 1 : end - 1].partition(b"=")
        if not equals or extension[end - 1 : end] != b"\n":
            raise DamagedTarError(at, "expected PAX records, found something else")
        records[_text(key)] = _text(value)
        place = end
    if any(key.startswith("GNU.sparse") for key in records):
        raise DamagedTarError(at, "expected a file, found a sparse one")
    return records


def _pax_size(records: dict[str, str], at: int) -> int | None:
    size = records.get("size")
    if size is not None and not (size.isascii() and size.isdecimal() and len(size) <= _MOST_DIGITS):
        raise DamagedTarError(at, f"expected the size of a file, found {size[: 2 * _MOST_DIGITS]!r}")
    return None if size is None else int(size)
