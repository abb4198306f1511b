"""What lies at a name that others can guess is looked at before it is used."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from cluster.errors import StorageError
from cluster.private_folder import open_own, private_folder

OTHER = 54_321


def test_a_private_folder_is_made_for_its_user_alone_and_used_again(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "deep" / "own")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "file").write_text("kept")
    assert (private_folder(folder) / "file").read_text() == "kept"
    os.chmod(folder, 0o1777)  # the root of a disk in memory: nobody can change another's files there
    private_folder(folder)


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("link", "a link"),
        ("dangling", "a link"),
        ("file", "no folder"),
        ("pipe", "no folder"),
        ("others", "one that others may write to (mode 0777)"),
        ("group", "one that others may write to (mode 0775)"),
    ],
)
def test_a_link_a_file_and_a_folder_that_others_can_change_are_refused(tmp_path: Path, kind: str, found: str) -> None:
    path = tmp_path / "own"
    home = tmp_path / "home"
    home.mkdir()
    if kind in ("link", "dangling"):
        path.symlink_to(home if kind == "link" else tmp_path / "nowhere")
    elif kind == "file":
        path.touch()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
        path.chmod(0o777 if kind == "others" else 0o775)
    with pytest.raises(StorageError) as caught:
        private_folder(path)
    assert f"{path}: expected a folder that only this user can change, found {found}; remove it" in str(caught.value)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to another user")
def test_folders_and_files_of_another_user_are_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(0o700)
    (tmp_path / "file").write_text("planted")
    for path in (theirs, tmp_path / "file"):
        os.chown(path, OTHER, OTHER)
    with pytest.raises(StorageError, match=rf"found one of another user \(id {OTHER}\)"):
        private_folder(theirs)
    with pytest.raises(PermissionError, match="expected a file of this user's own"):
        open_own(tmp_path / "file", os.O_RDONLY)
    (tmp_path / "link").symlink_to(shutil.__file__)
    with pytest.raises(OSError, match="symbolic link"):
        open_own(tmp_path / "link", os.O_RDONLY)
