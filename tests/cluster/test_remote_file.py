"""A file that is read in blocks is the same file, and only the blocks that are read are fetched."""

import io

import numpy as np
import pytest

from cluster.errors import StorageError
from cluster.remote_file import RemoteFile


def test_it_reads_like_a_local_file_and_fetches_only_what_is_asked_for() -> None:
    content = np.random.default_rng(0).bytes(41_000_003)
    fetched = []

    def read_range(start: int, length: int) -> bytes:
        fetched.append(length)
        return content[start : start + length]

    ours, plain = RemoteFile(read_range, len(content)), io.BytesIO(content)
    for place, whence, length in [
        (0, io.SEEK_SET, 10),
        (5_000_000, io.SEEK_SET, 70_000),
        (100, io.SEEK_CUR, 2_200_000),
        (-30, io.SEEK_END, 100),
        (50_000_000, io.SEEK_SET, 10),
    ]:
        assert ours.seek(place, whence) == plain.seek(place, whence)
        assert ours.read(length) == plain.read(length)
        assert ours.tell() == plain.tell()
    assert sum(fetched) < 10_000_000
    ours.seek(40_999_000)
    assert ours.read() == content[40_999_000:]


def test_lines_can_be_read_through_a_buffer() -> None:
    text = b"".join(b"line %d\n" % number for number in range(300_000))
    file = io.BufferedReader(RemoteFile(lambda start, length: text[start : start + length], len(text)))
    assert list(file) == text.splitlines(keepends=True)


def test_a_file_that_became_shorter_is_said() -> None:
    file = RemoteFile(lambda start, length: b"x" * 5, 10)
    with pytest.raises(StorageError, match="expected 10 bytes from byte 0, found 5"):
        file.read()
