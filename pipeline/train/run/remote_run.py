"""A run folder on object storage, of a job on any number of machines that share nothing else.

Checkpoints are written there and read from there, by every process. All else is written to a local folder of each
machine and published at every checkpoint: by the main process what the run says of itself, by each process its own log
and stacks. A run that starts again, on these machines or others, fetches what the main process will go on writing, and
each process its own log.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cluster import storage
from cluster.errors import InUseError, MissingFileError, StorageError, UserError
from cluster.job_environment import JobEnvironment
from cluster.job_folder import JOBS
from cluster.lease import Lease
from cluster.process_group import ProcessGroup
from cluster.scratch import sweep
from pipeline.train.run.remote_logs import LOGS, local_folders, log_name, own_local_folder, own_logs
from pipeline.train.run.run_folder import LOCK, locked

CHECKPOINTS = "checkpoints"
Sent = dict[str, tuple[int, int]]
"""Size in bytes and time of change (ns) that local files had when they were fetched or sent, by name in the run."""


@dataclass(frozen=True)
class RunPlace:
    """Where a run lies.

    Attributes:
        url: of the run (path or URL).
        folder: the local folder that this process works in; that of the run, where it is local.
        publish: brings what this process has to say to the run; does nothing where that is local.
        lease: by which a remote run is held; the main process holds it.
    """

    url: str
    folder: Path
    publish: Callable[[], None] = lambda: None
    lease: Lease | None = None

    @property
    def is_lost(self) -> bool:
        """Whether somebody else has taken the run over; the main process knows."""
        return self.lease is not None and self.lease.is_lost

    def check_held(self) -> None:
        """Say so where somebody else has taken the run over.

        Raises:
            InUseError: somebody has.
        """
        if self.lease is not None:
            self.lease.check()

    @property
    def remote(self) -> str | None:
        """The run's URL, where it is not local."""
        return self.url if storage.is_remote(self.url) else None

    @property
    def checkpoints(self) -> str:
        """Where its checkpoints are (path or URL)."""
        return storage.join(self.url, CHECKPOINTS)


@contextmanager
def run_place(run: str, group: ProcessGroup) -> Iterator[RunPlace]:
    """The place of a run, held for this job. Every process must enter.

    A remote run has one local folder a machine, which goes at the end; what a killed job left goes when the next one
    starts. It is held by a lease beside it: a job that stood still until another took over publishes no more and makes
    no checkpoint whole, and whoever trains finds out by `is_lost`, within `cluster.lease.RENEW_S` of going on.

    Raises:
        InUseError: another job holds the folder.
        StorageError: nothing can be written there.
    """
    if not storage.is_remote(run):
        with _held(Path(run), group.is_main, group, run):
            yield RunPlace(run, Path(run))
        return
    group.on_main(lambda: storage.check_writable(run))  # else the first checkpoint is what finds it out
    folder = group.each(lambda: own_local_folder(run))
    with _held(folder, group.is_first_of_machine, group, run), _leased(run, group) as lease:
        sent: Sent = {}
        group.each(lambda: _make_room(folder, run) if group.is_first_of_machine else None)
        logs = group.on_main(lambda: _names(storage.join(run, LOGS)))  # or each process of a new run would ask in vain
        group.each(lambda: sent.update(_fetch(run, folder, group, logs)))
        place = RunPlace(run, folder, lambda: _publish(folder, run, group, sent, lease), lease)
        try:
            yield place
        except UserError as error:  # which the launcher doesn't take for a crash
            if not isinstance(error, StorageError | InUseError):
                place.publish()
            raise
        group.each(place.publish)
        if group.is_first_of_machine:  # everyone is done with it
            shutil.rmtree(folder)


@contextmanager
def _held(folder: Path, holds: bool, group: ProcessGroup, run: str) -> Iterator[None]:
    with ExitStack() as held:
        group.each(lambda: held.enter_context(locked(folder, run)) if holds else None)
        yield


@contextmanager
def _leased(run: str, group: ProcessGroup) -> Iterator[Lease]:
    """Hold a remote run; the main process does."""
    lease = Lease(storage.join(run, LOCK), "gavt train", JobEnvironment.of_this_process().job_attempt)
    with ExitStack() as held:

        def take() -> None:
            held.enter_context(lease)

        group.on_main(take)
        yield lease


def _make_room(folder: Path, run: str) -> None:
    """Empty this machine's folder, and remove those of machines that had this place before: under Ray a node that is
    started again has another name."""
    sweep(folder.parent, local_folders(run), LOCK)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()


def _fetch(run: str, folder: Path, group: ProcessGroup, logs: set[str]) -> Sent:
    """Fetch what this process will go on writing; what is there already, then."""
    fetched = fetch_run(run, folder) if group.is_main else set()
    if (log := log_name(group.rank)) in logs:
        storage.download(storage.join(run, LOGS, log), folder / LOGS / log)
        fetched.add(f"{LOGS}/{log}")
    return {name: _stamp(folder / name) for name in fetched}


def fetch_run(run: str, folder: Path) -> set[str]:
    """Fetch all of a run but its checkpoints, logs, jobs and lease; names of what came.

    Raises:
        StorageError: a name in the run could lie outside the folder, before anything is fetched; or it can't be read.
    """
    names = _names(run)
    places = storage.local_places(names, folder, run)
    wanted = sorted(name for name in names if name.split("/")[0] not in (CHECKPOINTS, LOGS, JOBS, LOCK))
    for name in wanted:
        storage.download(storage.join(run, name), places[name])
    return set(wanted)


def _publish(folder: Path, run: str, group: ProcessGroup, sent: Sent, lease: Lease) -> None:
    if group.is_main:
        lease.confirm()
        publish_run(folder, run, sent)
    for file in own_logs(folder, group.rank):
        _send(folder, run, str(file.relative_to(folder)), sent)


def publish_run(folder: Path, run: str, sent: Sent) -> None:
    """Bring the run on storage up to date with the local folder, but for logs.

    Args:
        sent: what is there already, which is not sent again as long as it does not change; brought up to date too.
    """
    files = [file for file in folder.rglob("*") if file.is_file()]
    names = sorted(str(file.relative_to(folder)) for file in files if file.name != LOCK and file.suffix != ".part")
    for top in {name.split("/")[0] for name in names if "/" in name} - {LOGS}:
        there = {f"{top}/{name}" for name in _names(storage.join(run, top))}
        for name in [name for name in sent if name.startswith(f"{top}/") and name not in there]:
            del sent[name]  # somebody else has removed it
    for name in names:
        if not name.startswith(f"{LOGS}/"):
            _send(folder, run, name, sent)


def _send(folder: Path, run: str, name: str, sent: Sent) -> None:
    """Upload a file unless it is there as it is here; one of another that writes beside this one may be gone since."""
    with suppress(FileNotFoundError, MissingFileError):
        stamp = _stamp(folder / name)  # before it is read: what is written meanwhile is sent the next time
        if sent.get(name) != stamp:
            storage.upload(folder / name, storage.join(run, name))
            sent[name] = stamp


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _names(folder: str) -> set[str]:
    return {storage.name_below(folder, file) for file in storage.list_files(folder)}
