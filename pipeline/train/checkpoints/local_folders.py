"""New folders of checkpoints and exports, local or on storage."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import storage
from cluster.os_errors import why
from cluster.scratch import scratch_folder
from cluster.storage.location import path_of
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import MANIFEST


def check_new_folder(url: str) -> None:
    """Make sure that nothing is in a folder (path or URL) yet, and that something can be.

    Raises:
        CheckpointError: something is there already.
        StorageError: nothing can be written there.
    """
    if storage.list_files(url):
        raise CheckpointError(f"{url}: expected an empty folder or none, found files in it")
    storage.check_writable(url)


@contextmanager
def new_folder(url: str) -> Iterator[Path]:
    """A local folder whose files are at `url` (path or URL) when the block ends well, the manifests last; else a local
    `url` is left as it was.

    Raises:
        CheckpointError: something is there already.
        StorageError: nothing can be written there.
    """
    check_new_folder(url)
    if not storage.is_remote(url):
        folder = path_of(url)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _removed_unless_whole(folder):
                yield folder
        except OSError as error:
            problem = why(error)
            raise CheckpointError(f"{url}: expected a folder that can be written to, found: {problem}") from error
        return
    with scratch_folder("gavt-checkpoint-") as scratch:
        folder = scratch / "files"
        folder.mkdir()
        yield folder
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        for file in sorted(files, key=lambda file: file.name == MANIFEST):
            storage.upload(file, storage.join(url, str(file.relative_to(folder))))


@contextmanager
def _removed_unless_whole(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder)
        raise
