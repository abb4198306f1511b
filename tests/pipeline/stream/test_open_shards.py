"""What is wrong with the machine is no fault of a sample: it stops the reading, and is not counted as bad data."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import MissingFileError, StorageError, UnreachableError
from pipeline.shards.shard_set import SamplePlace
from pipeline.stream.shard_bytes import ShardBytes

SHARDS = 120
READ_ALL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), 4096))
from pipeline.stream.shard_bytes import ShardBytes
from pipeline.shards.shard_set import SamplePlace
files = ShardBytes(None)
for _ in range(2):
    contents = files.begin([SamplePlace(f"{sys.argv[1]}/{number}", "key", 0, 3, None) for number in range(120)])()
    assert contents == [b"%03d" % number for number in range(120)], contents
"""


def place(shard: Path) -> SamplePlace:
    """The first three bytes of a shard."""
    return SamplePlace(str(shard), "key", 0, 3, None)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for number in range(SHARDS):
        (tmp_path / str(number)).write_bytes(b"%03d" % number)
    return tmp_path


@pytest.mark.parametrize("limit", [64, 256])
def test_more_shards_than_files_may_be_open_are_all_read(shards: Path, limit: int) -> None:
    subprocess.run([sys.executable, "-c", READ_ALL, str(shards), str(limit)], check=True, timeout=120)


@pytest.fixture
def few_files() -> Iterator[None]:
    """A limit of open files that leaves room for a few more than there are now."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = [os.open("/dev/null", os.O_RDONLY) for _ in range(4)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, before[1]))
    for file in spare:
        os.close(file)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_shards_are_closed_for_others_before_reading_gives_up(shards: Path, few_files: None) -> None:
    files = ShardBytes(None)
    places = [place(shards / str(number)) for number in range(SHARDS)]
    assert files.begin(places)() == [b"%03d" % number for number in range(SHARDS)]
    files.close()
    taken = []
    try:
        with pytest.raises(OSError, match="Too many open files"):  # noqa: PT012
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(UnreachableError, match=rf"{shards}/0: can't read it: Too many open files"):
            files.begin(places)()
    finally:
        for file in taken:
            os.close(file)


def test_a_disk_that_fails_stops_and_a_shard_that_is_gone_is_one_bad_shard(tmp_path: Path) -> None:
    files = ShardBytes(None)
    with pytest.raises(UnreachableError, match="can't read it: Input/output error"):
        files.begin([place(Path("/proc/self/mem"))])()  # as a disk answers where it can't read
    (content,) = files.begin([place(tmp_path / "gone")])()
    assert isinstance(content, MissingFileError)
    (content,) = files.begin([place(tmp_path)])()
    assert isinstance(content, StorageError)
    assert not isinstance(content, UnreachableError)


def test_a_file_that_its_server_has_forgotten_is_opened_anew(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NFS says (ESTALE) of one that was replaced; no such server runs here."""
    answers = [OSError(errno.ESTALE, os.strerror(errno.ESTALE))]
    pread = os.pread

    def once_stale(file: int, length: int, start: int) -> bytes:
        if answers:
            raise answers.pop()
        return pread(file, length, start)

    monkeypatch.setattr(os, "pread", once_stale)
    assert ShardBytes(None).begin([place(shards / "7")])() == [b"007"]
