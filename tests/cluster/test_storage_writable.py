"""Whether a place can be written to is known before the work."""

from pathlib import Path

import pytest

from cluster import storage
from cluster.errors import ForbiddenError, StorageError
from full_disk import fill
from unprivileged import read_only


def test_a_place_that_can_be_written_to_is_left_as_it_was(tmp_path: Path) -> None:
    storage.check_writable(tmp_path)
    storage.check_writable(tmp_path / "new/deeper")
    storage.check_writable(f"file://{tmp_path}/new")
    storage.check_file_writable(tmp_path / "new/list.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["", "new", "new/deeper"])
def test_a_read_only_folder_is_a_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    with read_only(tmp_path / "folder"):
        with pytest.raises(ForbiddenError, match=f"{tmp_path / 'folder' / place}: not allowed to write to it"):
            storage.check_writable(tmp_path / "folder" / place)
        with pytest.raises(ForbiddenError, match="not allowed to write to it"):
            storage.check_file_writable(tmp_path / "folder" / place / "page.html")


def test_a_file_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=f"expected a folder, or room for one, found that {tmp_path}/file is a file"):
        storage.check_writable(tmp_path / "file/below")
    with pytest.raises(StorageError, match="expected the name of a file to write, found a folder"):
        storage.check_file_writable(tmp_path)


def test_a_full_disk_is_a_sentence(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(StorageError, match="can't write to it: .*No space left on device"):
        storage.check_writable(small_disk)


def test_object_storage_is_tried_too(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.check_writable(f"{s3_bucket}/new")
    storage.check_file_writable(f"{s3_bucket}/list.csv")
    assert storage.list_files(s3_bucket) == []
    with pytest.raises(StorageError, match="s3://no-such-bucket-of-ours"):
        storage.check_writable("s3://no-such-bucket-of-ours/runs")
