"""Processes' files read such that what comes is what was saved: whole blocks, each compared with its hash as it comes,
straight into the memory where its numbers are wanted."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from cluster import storage
from cluster.errors import ForbiddenError, MissingFileError, StorageError, UnreachableError
from pipeline.train.checkpoints.layout import DamagedError, damaged, missing
from pipeline.train.checkpoints.share import LARGEST_BLOCK, SavedFile

AT_ONCE = 8 * LARGEST_BLOCK
"""Bytes that one request asks for."""
_READERS = 4
"""Requests under way at a time."""
_HEADERS = 16
_HASHERS = 4


@dataclass(frozen=True)
class Wish:
    """Numbers of a process's file: from byte `start` on, as many as `into` takes, in the type in which they lie."""

    file: SavedFile
    start: int
    dtype: torch.dtype
    into: Tensor

    @property
    def end(self) -> int:
        return self.start + self.into.numel() * self.dtype.itemsize

    def cut(self, at: int) -> "tuple[Wish, list[Wish]]":
        """What lies before a byte of the file, which is no number's middle, and what lies behind it, if anything."""
        if self.end <= at:
            return self, []
        count = (at - self.start) // self.dtype.itemsize
        rest = replace(self, start=self.start + count * self.dtype.itemsize, into=self.into[count:])
        return replace(self, into=self.into[:count]), [rest]

    @property
    def is_direct(self) -> bool:
        """Whether the file's bytes are those of `into`."""
        return self.into.dtype == self.dtype and self.into.device.type == "cpu" and self.into.is_contiguous()


@dataclass
class Part:
    """Whole blocks of a file, bytes `begin` to `end`, and the wishes that they fill, in order."""

    file: SavedFile
    begin: int
    end: int
    wishes: list[Wish] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return self.end - self.begin

    def memory(self) -> tuple[list[memoryview], list[tuple[Wish, Tensor]]]:
        """Where its bytes go, one piece behind the other: into what is wished for; and what is to be copied from
        elsewhere after that."""
        pieces, later, at = [], [], self.begin
        for wish in self.wishes:
            if wish.start > at:
                pieces.append(memoryview(bytearray(wish.start - at)))
            numbers = wish.into if wish.is_direct else torch.empty(wish.into.numel(), dtype=wish.dtype)
            if numbers is not wish.into:
                later.append((wish, numbers))
            pieces.append(bytes_of(numbers))
            at = wish.end
        if self.end > at:
            pieces.append(memoryview(bytearray(self.end - at)))
        return pieces, later

    def take(self, content: Tensor) -> None:
        """Fill the wishes from its bytes, a flat tensor."""
        for wish in self.wishes:
            wish.into.copy_(content[wish.start - self.begin : wish.end - self.begin].view(wish.dtype))


def bytes_of(numbers: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the host."""
    return numbers.detach().view(-1).view(torch.uint8).numpy().data


def parts_of(wishes: Iterable[Wish]) -> Iterator[Part]:
    """The blocks that hold what is wished for, in stretches that one request each asks for."""
    waiting = deque(sorted((one for one in wishes if one.into.numel()), key=lambda wish: (wish.file.name, wish.start)))
    part: Part | None = None
    while waiting:
        wish = waiting.popleft()
        begin = wish.file.begin_of(wish.file.block_of(wish.start))
        if part is not None and not _goes_on(part, wish, begin):
            yield part
            part = None
        part = part or Part(wish.file, begin, begin)
        wish, rest = wish.cut(part.begin + AT_ONCE)
        part.wishes.append(wish)
        part.end = wish.file.begin_of(wish.file.block_of(wish.end - 1) + 1)
        waiting.extendleft(rest)
    if part is not None:
        yield part


def _goes_on(part: Part, wish: Wish, begin: int) -> bool:
    """Whether a wish whose first block begins there belongs to a part, too."""
    before = part.wishes[-1]
    beside = wish.file is before.file and begin <= part.end and wish.start >= before.end
    return beside and wish.start < part.begin + AT_ONCE


class ShareReader:
    """Reads files of the checkpoint in the folder `url` (path or URL)."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._hashes: dict[str, list[str]] = {}

    def read(self, wishes: Iterable[Wish]) -> None:
        """Fill what wishes want filled.

        Raises:
            DamagedError: what was read of a file is not what was saved.
            StorageError: a file can't be read.
        """
        staged: deque[list[tuple[Wish, Tensor]]] = deque()

        def memory(part: Part) -> list[memoryview]:
            pieces, later = part.memory()
            staged.append(later)
            return pieces

        for _ in self.fill(list(parts_of(wishes)), memory):
            for wish, numbers in staged.popleft():
                wish.into.copy_(numbers)

    def fill(
        self, parts: Sequence[Part], memory_of: Callable[[Part], Sequence[memoryview]]
    ) -> Iterator[Sequence[memoryview]]:
        """Read parts into memory that is asked for as they are; gives each one's, in order, once what is in it is what
        was saved.

        Raises:
            DamagedError, StorageError: as of `read`.
        """
        self._open(list({part.file.name: part.file for part in parts}.values()))
        asked: deque[Sequence[memoryview]] = deque()
        hashing: deque[Future[Sequence[memoryview]]] = deque()

        def ranges() -> Iterator[tuple[str, int, Sequence[memoryview]]]:
            for part in parts:
                asked.append(memory_of(part))
                yield self._place(part.file), part.begin, asked[-1]

        with ThreadPoolExecutor(_HASHERS) as threads, closing(storage.fill_parts(ranges(), _READERS)) as faults:
            for part, fault in zip(parts, faults, strict=True):
                if fault is not None:
                    raise self._fault(part.file, fault)
                hashing.append(threads.submit(self._compared, part, asked.popleft()))
                if len(hashing) > _HASHERS:
                    yield hashing.popleft().result()
            while hashing:
                yield hashing.popleft().result()

    def _open(self, files: Sequence[SavedFile]) -> None:
        """Read the headers of files, where that was not done."""
        new = [file for file in files if file.name not in self._hashes]
        parts = ((self._place(file), 0, file.header_bytes, None) for file in new)
        with closing(storage.read_parts(parts, _HEADERS)) as headers:
            for file, header in zip(new, headers, strict=True):
                if isinstance(header, StorageError):
                    raise self._fault(file, header)
                hashes = file.hashes(header)
                if hashes is None:
                    raise DamagedError(damaged(self._place(file)))
                self._hashes[file.name] = hashes

    def _compared(self, part: Part, memory: Sequence[memoryview]) -> Sequence[memoryview]:
        """Compare the blocks of a part with their hashes."""
        file, hashes = part.file, self._hashes[part.file.name]
        block, digest = file.block_of(part.begin), hashlib.sha256()
        left = file.begin_of(block + 1) - part.begin
        for piece in memory:
            while len(piece):
                some, piece = piece[:left], piece[left:]
                digest.update(some)
                left -= len(some)
                if not left:
                    if digest.hexdigest() != hashes[block]:
                        raise DamagedError(damaged(self._place(file)))
                    block, digest = block + 1, hashlib.sha256()
                    left = file.begin_of(block + 1) - file.begin_of(block)
        return memory

    def _fault(self, file: SavedFile, error: StorageError) -> Exception:
        """What is wrong with a file that can't be read."""
        place = self._place(file)
        if isinstance(error, MissingFileError):
            return DamagedError(missing(place))
        if isinstance(error, UnreachableError | ForbiddenError) or storage.size(place) == file.size:
            return error
        return DamagedError(damaged(place))

    def _place(self, file: SavedFile) -> str:
        return storage.join(self._url, file.name)


def saved_files(entries: Iterable[Mapping[str, object]]) -> dict[str, SavedFile]:
    """Processes' files by name, from a manifest's entries.

    Raises:
        KeyError, TypeError, ValueError: these are none.
    """
    return {file.name: file for file in map(SavedFile.of, entries)}
