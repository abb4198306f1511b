"""Content of a file that is read through caches, what they have of it on disk, and processes that read it."""

import fcntl
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster import storage
from cluster.node_cache import NodeCache
from cluster.storage import FileVersion

KIB = 1 << 10
EXTENT = 16 * KIB
CONTENT = random.Random(0).randbytes(40 * EXTENT + 777)
PROCESSES = multiprocessing.get_context("fork")


def make(path: Path, content: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def files(folder: Path, ending: str = "") -> list[Path]:
    return [path for path in (folder / "sets").rglob(f"*{ending}") if path.is_file()]


def bytes_on_disk(folder: Path) -> int:
    """Of extents and parts, while nobody changes them."""
    with (folder / "account").open("rb") as account:
        fcntl.flock(account, fcntl.LOCK_EX)
        return sum(-(-path.stat().st_size // 4096) * 4096 for path in files(folder))


def bytes_on_account(folder: Path) -> tuple[int, int]:
    """In use, and kept."""
    used, kept, *_ = (folder / "account").read_text("ascii").split()
    return int(used), int(kept)


@contextmanager
def process(work: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
    """A process that does it; killed with the block."""
    running = PROCESSES.Process(target=work, args=arguments)
    running.start()
    try:
        yield running
    finally:
        running.kill()
        running.join()


def slowly(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Answers of the origin take a while."""
    read_part = storage.read_part

    def slow(*arguments: Any) -> bytes:
        time.sleep(seconds)
        return read_part(*arguments)

    monkeypatch.setattr(storage, "read_part", slow)


def read_all(cache: NodeCache, url: str, version: FileVersion) -> None:
    """Read whole in small pieces, each of which has to be right."""
    for start in range(0, len(CONTENT), 5000):
        length = min(5000, len(CONTENT) - start)
        assert cache.read(url, version, start, length) == CONTENT[start : start + length]


def read_at_random(folder: Path, url: str, version: FileVersion, max_bytes: int, seed: int) -> None:
    cache, choose = NodeCache(folder, max_bytes, EXTENT), random.Random(seed)
    while True:
        start = choose.randrange(len(CONTENT) - 3000)
        assert cache.read(url, version, start, 3000) == CONTENT[start : start + 3000]
        if choose.random() < 0.05:
            cache.discard(url, version, start, 3000)
