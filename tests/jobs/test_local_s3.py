"""The S3 server for tests: several run side by side, and none takes the files of others."""

from pathlib import Path

import pytest

from cluster import storage
from jobs.local.s3 import S3Server


def test_a_second_server_runs_beside_the_first_and_stops_by_its_own_pids(s3_server: S3Server, tmp_path: Path) -> None:
    from jobs.local import s3

    root = tmp_path / "s3"
    second = s3.start(root)
    assert second.endpoint != s3_server.endpoint
    with pytest.raises(s3.S3ServerError, match="a server runs here already"):
        s3.start(root)
    s3.stop(root)
    s3.stop(root)
    assert not (root / "server.json").exists()
    assert storage.list_files("s3://no-such-bucket-here") == []  # the first still answers


def test_a_folder_with_other_files_is_not_emptied_for_a_server(s3_server: S3Server, tmp_path: Path) -> None:
    from jobs.local import s3

    (tmp_path / "mine").write_text("dear")
    with pytest.raises(s3.S3ServerError, match="found other files"):
        s3.start(tmp_path)
    assert (tmp_path / "mine").read_text() == "dear"
