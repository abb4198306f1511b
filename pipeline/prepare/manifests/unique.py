"""Which rows came before: 24 bytes a row, so that a hundred million rows fit into memory.

Ids and sources are held as 64-bit digests (BLAKE2b), sorted, beside the places where they first stood. Two different
ones share a digest by chance once in 3 700 lists of a hundred million rows; the later row is then reported as repeated.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Digests = npt.NDArray[np.uint64]
RowPlaces = npt.NDArray[np.int64]

_LARGEST = 1 << 24
"""Entries of the largest tables; merging larger ones would need memory for two of them at once."""


def digests_of(keys: Iterable[bytes]) -> list[bytes]:
    """64-bit digest of each key."""
    return [blake2b(key, digest_size=8).digest() for key in keys]


def as_numbers(digests: list[bytes]) -> Digests:
    """Digests as an array."""
    return np.frombuffer(b"".join(digests), np.uint64)


class DigestTable:
    """Digests and places (numbers from 0 on) that are added in batches and looked up in batches.

    Sorted tables are merged when they are of a size, as in a log-structured merge tree, so adding n entries costs
    O(n log n) in all and no entry is held twice for long.
    """

    def __init__(self) -> None:
        self._tables: list[tuple[Digests, npt.NDArray[np.unsignedinteger]]] = []

    def __len__(self) -> int:
        return sum(len(digests) for digests, _ in self._tables)

    def find(self, digests: Digests) -> RowPlaces:
        """The place of each digest; -1 where it is not there."""
        order = np.argsort(digests)  # neighbours in a table are found in memory that is in the cache already
        wanted = digests[order]
        found = np.full(len(digests), -1, np.int64)
        for table, places in self._tables:
            at = np.searchsorted(table, wanted)
            at[at == len(table)] = 0
            hit = table[at] == wanted
            found[order[hit]] = places[at[hit]]
        return found

    def add(self, digests: Digests, places: RowPlaces) -> None:
        """Add digests that are not there yet, each once."""
        if not len(digests):
            return
        order = np.argsort(digests)
        small = np.uint32 if places.max() < 1 << 32 else np.uint64
        self._tables.append((digests[order], places[order].astype(small)))
        while len(self._tables) > 1:
            (before, first), (after, second) = self._tables[-2:]
            if len(before) > 2 * len(after) or len(before) + len(after) > _LARGEST:
                return
            del self._tables[-2:]
            self._tables.append(_merge(before, first, after, second))


def _merge(
    before: Digests,
    first: npt.NDArray[np.unsignedinteger],
    after: Digests,
    second: npt.NDArray[np.unsignedinteger],
) -> tuple[Digests, npt.NDArray[np.unsignedinteger]]:
    at = np.searchsorted(before, after) + np.arange(len(after))
    size = len(before) + len(after)
    rest = np.ones(size, bool)
    rest[at] = False
    digests = np.empty(size, np.uint64)
    digests[at], digests[rest] = after, before
    places = np.empty(size, np.promote_types(first.dtype, second.dtype))
    places[at], places[rest] = second, first
    return digests, places
