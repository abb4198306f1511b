"""A run folder on object storage: a local copy to work in, published at every checkpoint.

What is published is always whole: a checkpoint's files come before its manifest, and the manifest before `latest`. A
run that starts again, on this machine or another, fetches the newest whole checkpoint and the logs.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import storage
from cluster.process_group import ProcessGroup
from pipeline.errors import RunError
from pipeline.train.checkpoints import LATEST, MANIFEST
from pipeline.train.run_folder import LOCK, locked


@contextmanager
def run_place(run: str, group: ProcessGroup) -> Iterator[tuple[Path, Callable[[], None]]]:
    """The local folder of a run, held for this job, and a function that publishes it, which the main process calls
    after each checkpoint.

    Every process must enter. For a local run the folder is the run's own and publishing does nothing. A remote run has
    one folder a machine, which goes at the end; what a killed job left in it goes when the next one starts.

    Raises:
        RunError: another job holds the folder, or a remote run over several machines, whose processes don't share it.
    """
    if not storage.is_remote(run):
        with _held_by_main(Path(run), group):
            yield Path(run), lambda: None
        return
    if group.world_size > int(os.environ.get("LOCAL_WORLD_SIZE", group.world_size)):
        raise RunError(f"{run}: a job over several machines needs a run folder on a file system that they share")
    name = hashlib.sha256(run.rstrip("/").encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"gavt-run-{os.getuid()}-{name}"
    with _held_by_main(folder, group):
        if group.is_main:
            _empty(folder)
            fetch_run(run, folder)
        group.barrier()
        yield folder, lambda: publish_run(folder, run)
        group.barrier()  # everyone is done with it
        if group.is_main:
            shutil.rmtree(folder)


@contextmanager
def _held_by_main(folder: Path, group: ProcessGroup) -> Iterator[None]:
    if not group.is_main:
        yield
        return
    with locked(folder):
        yield


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()


def fetch_run(run: str, folder: Path) -> None:
    """Fetch a run's logs and its newest whole checkpoint."""
    names = _names(run)
    whole = sorted({name.split("/")[1] for name in names if _is_manifest(name)})
    for name in names:
        parts = name.split("/")
        if parts[0] != "checkpoints" or (whole and parts[1] in (whole[-1], LATEST)):
            storage.download(storage.join(run, name), folder / name)


def publish_run(folder: Path, run: str) -> None:
    """Bring the run on storage up to date with the local folder."""
    there = _names(run)
    here = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() and file.name != LOCK}
    for name in sorted(here, key=_publishing_order):
        if _is_of_a_step(name) and name in there:
            continue  # a checkpoint's files never change
        storage.upload(folder / name, storage.join(run, name))
    # of a checkpoint that goes, the manifest goes first
    for name in sorted((name for name in there - here if _is_of_a_step(name)), key=lambda n: not _is_manifest(n)):
        storage.remove(storage.join(run, name))


def _names(run: str) -> set[str]:
    return {file.url[len(run.rstrip("/")) + 1 :] for file in storage.list_files(run)}


def _is_of_a_step(name: str) -> bool:
    return name.startswith("checkpoints/step-")


def _is_manifest(name: str) -> bool:
    return _is_of_a_step(name) and name.endswith("/" + MANIFEST)


def _publishing_order(name: str) -> tuple[int, str]:
    return (2 if name == f"checkpoints/{LATEST}" else 1 if _is_manifest(name) else 0, name)
