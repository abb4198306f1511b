"""Remote files that all ranks of a job read as they start: one rank a machine fetches them, the others read its copy.

A thousand ranks that ask for one object at the same moment are what object storage answers with SlowDown; a
machine with eight of them asks once, and the machines of a large job not all at once.

    $TMPDIR/gavt-once-UID/NAME            of a job's ranks on this machine and a file; NAME is a hash of both
                         /lock            held by who fetches, and by who counts
                         /content         the file
                         /readers         a byte for each rank that is done; the last one removes the folder
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from cluster import storage
from cluster.errors import LaunchError
from cluster.file_lock import open_lock_file, wait_for_lock
from cluster.job_environment import JobEnvironment
from cluster.patience import wait_for_turn
from cluster.private_folder import private_folder
from cluster.scratch import temporary_place
from cluster.storage.plain_errors import said_plainly

_OLD_S = 3600.0
"""After which what killed ranks left is removed."""


@contextmanager
def copied_once_a_machine(url: storage.Location) -> Iterator[Path]:
    """A local path with the file's content, as `storage.local_copy`; of the ranks of a job that a launcher started on
    this machine one fetches it. Each of them should ask for it as often as the others.

    Raises:
        StorageError: it can't be read, or not be kept here.
    """
    if not _is_shared(url):
        with storage.local_copy(url) as copy:
            yield copy
        return
    job = JobEnvironment.of_this_process()
    with said_plainly("copy", url):
        place = _place(url, job)
        lock = _locked(place)
        try:
            if not (place / "content").exists():
                wait_for_turn(job.nodes)
                storage.download(url, place / "content")
        finally:
            os.close(lock)
    try:
        yield place / "content"
    finally:
        _leave(place, job)


def _is_shared(url: storage.Location) -> bool:
    """Whether other ranks on this machine read the same."""
    if not storage.is_remote(url):
        return False
    try:
        job = JobEnvironment.of_this_process()
    except LaunchError:  # of which whoever starts the job complains
        return False
    return job.is_launched and (job.local_world_size or 1) > 1


def _place(url: storage.Location, job: JobEnvironment) -> Path:
    """The folder of a file and of the ranks that this process's parent started: a launcher, Slurm's or torchrun's
    daemon of the job. What another job, or the same one started again, has fetched may be an older version."""
    folder = private_folder(temporary_place() / f"gavt-once-{os.getuid()}")
    for old in folder.iterdir():
        with suppress(FileNotFoundError):  # another rank has just removed it
            if time.time() - old.stat().st_mtime > _OLD_S:
                shutil.rmtree(old, ignore_errors=True)
    parent = psutil.Process(os.getppid())
    whose = (os.fspath(url), parent.pid, parent.create_time(), job.main, job.attempt)
    return folder / hashlib.sha256(repr(whose).encode()).hexdigest()[:32]


def _locked(place: Path) -> int:
    """The lock of a place, which the last rank of a round before may be removing."""
    while True:
        place.mkdir(mode=0o700, exist_ok=True)
        try:
            lock = open_lock_file(place / "lock")
        except FileNotFoundError:
            continue
        wait_for_lock(lock)
        if os.fstat(lock).st_nlink:
            return lock
        os.close(lock)


def _leave(place: Path, job: JobEnvironment) -> None:
    """This rank has read it; the last one removes it."""
    lock = _locked(place)
    try:
        with (place / "readers").open("ab") as readers:
            readers.write(b".")
        if (place / "readers").stat().st_size >= (job.local_world_size or 1):
            shutil.rmtree(place, ignore_errors=True)
    finally:
        os.close(lock)
