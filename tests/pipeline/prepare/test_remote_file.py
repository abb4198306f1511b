"""A file that is read in blocks is the same file, and only the blocks that are read are fetched."""

import io
from pathlib import Path

import numpy as np
import pytest

from cluster import storage
from pipeline.prepare.remote_file import RemoteFile


def test_it_reads_like_a_local_file_and_fetches_only_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = np.random.default_rng(0).bytes(41_000_003)
    (tmp_path / "video").write_bytes(content)
    fetched = []
    read_range = storage.read_range

    def watched(url: str, start: int, length: int) -> bytes:
        fetched.append(length)
        return read_range(url, start, length)

    monkeypatch.setattr(storage, "read_range", watched)
    ours, plain = RemoteFile(str(tmp_path / "video")), io.BytesIO(content)
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
