"""The line in a cache's account: what it holds, with a check sum, and of which start of the machine it is."""

import os
import zlib
from dataclasses import dataclass

from cluster.boot import boot_id

_LINE = 160


@dataclass
class CacheTotals:
    """What the account says: bytes in use (with parts), bytes of kept extents, first byte of the ring that counts."""

    used: int
    kept: int
    head: int


def read_totals(account: int) -> CacheTotals | None:
    """What the open file says; None where that is nothing, damaged, or of before the machine was started."""
    words = os.pread(account, _LINE, 0).decode("ascii", "replace").split()
    if len(words) == 5 and words[4] == _check(words[:4]) and words[3] == boot_id():
        return CacheTotals(int(words[0]), int(words[1]), int(words[2]))
    return None


def write_totals(account: int, totals: CacheTotals) -> None:
    """Have the open file say it."""
    words = [str(max(0, totals.used)), str(max(0, totals.kept)), str(totals.head), boot_id()]
    os.pwrite(account, " ".join([*words, _check(words)]).ljust(_LINE - 1).encode() + b"\n", 0)


def forget_totals(account: int) -> None:
    """Have the open file say nothing: who is killed before it says something again leaves the counting to others."""
    os.pwrite(account, b" " * _LINE, 0)


def _check(words: list[str]) -> str:
    return f"{zlib.crc32(' '.join(words).encode()):08x}"
