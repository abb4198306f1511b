"""Scratch folders go with their processes."""

import os
from pathlib import Path

from cluster.scratch import scratch_folder


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    left = tmp_path / "gavt-test-left"
    left.mkdir()
    (left / "lock").touch()
    (left / "half a shard.tar").write_bytes(b"x")
    os.utime(left / "lock", (0, 0))
    other = tmp_path / "somebody-else"
    other.mkdir()
    with scratch_folder("gavt-test-", str(tmp_path)) as first:
        os.utime(first / "lock", (0, 0))
        with scratch_folder("gavt-test-", str(tmp_path)) as second:
            assert first.is_dir()
            assert second.is_dir()
            assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["somebody-else"]
