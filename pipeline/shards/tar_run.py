"""The files of one sample out of the bytes of its tar members, strictly.

`tarfile` ends in silence at a damaged header and reads on behind a cut one; here both are errors.
"""

import tarfile
from collections.abc import Iterator

_BLOCK = 512


def read_members(content: bytes, *, beginning: bool = False) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each file in a run of whole tar members.

    Args:
        beginning: `content` is only the beginning of the run: the last file may be cut, and is given as far as it goes.

    Raises:
        ValueError: a header is damaged, something is no plain file, or the run ends inside a member.
    """
    place = 0
    while place < len(content):
        if beginning and place + _BLOCK > len(content):
            return
        try:
            member = tarfile.TarInfo.frombuf(content[place : place + _BLOCK], "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise ValueError(f"expected a tar header at byte {place} of the sample, found none ({error})") from None
        if not member.isreg():
            raise ValueError(f"expected files only, found {member.name!r} of tar type {member.type!r}")
        if member.size < 0:
            raise ValueError(f"expected the size of {member.name!r}, found {member.size}")
        start = place + _BLOCK
        place = start + -(-member.size // _BLOCK) * _BLOCK
        if place > len(content) and not beginning:
            raise ValueError(f"expected {member.size} bytes of {member.name}, found the end of the sample before them")
        if any(content[start + member.size : place]):
            raise ValueError(f"expected zeros behind {member.name} up to the next {_BLOCK} bytes, found something else")
        yield member.name, content[start : start + member.size]
