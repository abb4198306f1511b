"""Rows of several lists to rows with ids that are unique."""

import itertools
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from pipeline.prepare.manifests.list_file import Naming
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.sources import hashed_names
from pipeline.prepare.manifests.unique import DigestTable, RowPlaces, as_numbers, digests_of

_RANGE = struct.Struct("<xdd").pack
_MOMENT = struct.Struct("<xd").pack

Settled = tuple[int, Naming, VideoRow]
"""A row with its place counted over all lists."""


class Settler:
    """Gives each row an id and drops rows that come again.

    A row comes again when an earlier one has the same source and sound, range and annotated moment, or the same id of
    the list's own. Rows with labels of segments are examples of their labels: they come again only with the same
    labels.
    """

    def __init__(self, name_of: Callable[[int], str], on_repeated: Callable[[str], None]) -> None:
        """Take `name_of` for the name of a place in messages."""
        self._name_of, self._on_repeated = name_of, on_repeated
        self._sources, self._ids = DigestTable(), DigestTable()

    def settle(self, batch: Sequence[Settled]) -> list[VideoRow]:
        """The rows of a batch that are new."""
        sources = digests_of([_key(row) for _, _, row in batch])
        names = digests_of([row.video.encode() for _, _, row in batch])
        source_places = self._sources.find(as_numbers(sources)).tolist()
        name_places = self._ids.find(as_numbers(names)).tolist()
        new_sources: dict[bytes, int] = {}
        new_names: dict[bytes, int] = {}
        free = self._free_names(batch, names, name_places)
        kept: list[VideoRow] = []
        for at, (place, naming, row) in enumerate(batch):
            source = sources[at]
            first = source_places[at] if source_places[at] >= 0 else new_sources.get(source)
            if first is not None:
                self._repeated(place, f"{_described(row)} is there already", first)
                continue
            name = names[at]
            first = name_places[at] if name_places[at] >= 0 else new_names.get(name)
            if first is not None:
                if naming is Naming.OWN:
                    self._repeated(place, f"a video named {row.video!r} is there already", first)
                    continue
                row, name = self._renamed(row, naming, new_names, free)
            new_sources[source] = new_names[name] = place
            kept.append(row)
        for table, new in ((self._sources, new_sources), (self._ids, new_names)):
            table.add(as_numbers(list(new)), _places(new))
        return kept

    def _repeated(self, place: int, sentence: str, first: int) -> None:
        self._on_repeated(f"{self._name_of(place)}: {sentence} ({self._name_of(first)})")

    def _free_names(self, batch: Sequence[Settled], names: list[bytes], places: list[int]) -> set[bytes]:
        """Digests of names with a hash that files of the batch may need, looked up at once: a folder may hold a million
        files of the same name."""
        if all(naming is not Naming.FILE for _, naming, _ in batch):
            return set()
        seen: set[bytes] = set()
        wanted: list[str] = []
        for (_, naming, row), name, place in zip(batch, names, places, strict=True):
            if naming is Naming.FILE and (place >= 0 or name in seen):
                wanted.append(hashed_names(row.source)[0])
            seen.add(name)
        digests = digests_of(map(str.encode, wanted))
        found = self._ids.find(as_numbers(digests)).tolist()
        return {name for name, place in zip(digests, found, strict=True) if place < 0}

    def _renamed(
        self, row: VideoRow, naming: Naming, new_names: dict[bytes, int], free: set[bytes]
    ) -> tuple[VideoRow, bytes]:
        for name in _other_names(row, naming):
            (found,) = digests_of([name.encode()])
            if found not in new_names and (found in free or self._ids.find(as_numbers([found]))[0] < 0):
                return replace(row, video=name), found
        raise AssertionError("the numbers never end")


def _other_names(row: VideoRow, naming: Naming) -> Iterator[str]:
    if naming is Naming.FILE:
        yield from hashed_names(row.source)
    for number in itertools.count(2):
        yield f"{row.video}-{number}"


def _key(row: VideoRow) -> bytes:
    """What makes a row the same as another."""
    start, end = row.start_s, row.end_s
    key = row.source.encode()
    if start is not None or end is not None:
        key += _RANGE(-1.0 if start is None else start, -1.0 if end is None else end)
    if row.frame_s is not None:
        key += _MOMENT(row.frame_s)
    if row.sound is not None:
        key = b"\0".join((key, row.sound.encode()))
    return key if row.segment_labels is None else b"\0".join((key, *map(str.encode, row.labels)))


def _described(row: VideoRow) -> str:
    if row.start_s is None and row.end_s is None:
        return row.source
    end = "its end" if row.end_s is None else f"{row.end_s:g} s"
    return f"{row.source} from {row.start_s or 0:g} s to {end}"


def _places(new: dict[bytes, int]) -> RowPlaces:
    return np.fromiter(new.values(), np.int64, len(new))
