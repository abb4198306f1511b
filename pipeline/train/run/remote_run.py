"""A run folder on object storage: a local copy to work in, published at every checkpoint.

What is published is always whole: a checkpoint's files come before its manifest, and the manifest before `latest`. A
run that starts again, on this machine or another, fetches the newest whole checkpoint and the logs.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cluster import storage
from cluster.errors import MissingFileError, StorageError, UserError
from cluster.process_group import ProcessGroup
from pipeline.errors import CheckpointError, RunError
from pipeline.train.checkpoints import LATEST, MANIFEST, read_manifest
from pipeline.train.checkpoints.find import problems
from pipeline.train.checkpoints.retention import kept
from pipeline.train.run.remote_logs import own_local_folder, publish_logs
from pipeline.train.run.run_folder import LOCK, locked
from pipeline.train.settings import TrainSettings

Sent = dict[str, tuple[int, int]]
"""Size in bytes and time of change (ns) that local files had when they were fetched or sent, by name in the run."""


@contextmanager
def run_place(run: str, group: ProcessGroup, settings: TrainSettings) -> Iterator[tuple[Path, Callable[[], None]]]:
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
    if group.nodes > 1:
        raise RunError(f"{run}: a job over several machines needs a run folder on a file system that they share")
    group.on_main(lambda: storage.check_writable(run))  # else the first checkpoint is what finds it out
    folder = group.on_main(lambda: own_local_folder(run))
    with _held_by_main(folder, group):
        sent: Sent = {}
        group.on_main(lambda: sent.update(_fetch_anew(run, folder)))
        try:
            yield folder, lambda: publish_run(folder, run, settings.keep_last, settings.keep_every, sent)
        except UserError as error:  # which the launcher doesn't take for a crash
            if group.is_main and not isinstance(error, StorageError):
                publish_logs(folder, run)
            raise
        group.barrier()  # everyone is done with it
        if group.is_main:
            shutil.rmtree(folder)


@contextmanager
def _held_by_main(folder: Path, group: ProcessGroup) -> Iterator[None]:
    with ExitStack() as held:
        group.on_main(lambda: held.enter_context(locked(folder)))
        yield


def _fetch_anew(run: str, folder: Path) -> Sent:
    _empty(folder)
    fetch_run(run, folder)
    return {name: _stamp(folder / name) for name in _names_in(folder) if not name.startswith("checkpoints/")}


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()


def fetch_run(run: str, folder: Path) -> None:
    """Fetch a run's logs and its newest checkpoint, and older ones too as long as what came is damaged.

    Raises:
        StorageError: a name in the run could lie outside the folder, before anything is fetched; or it can't be read.
    """
    places = storage.local_places(_names(run), folder, run)
    names = sorted(places)
    for name in names:
        if not name.startswith("checkpoints/"):
            storage.download(storage.join(run, name), places[name])
    for step in sorted({name.split("/")[1] for name in names if _is_manifest(name)}, reverse=True):
        for name in names:
            if name.startswith(f"checkpoints/{step}/"):
                storage.download(storage.join(run, name), places[name])
        storage.write_text(folder / "checkpoints" / LATEST, step)
        if _is_whole(str(folder / "checkpoints" / step)):
            break


def _is_whole(checkpoint: str) -> bool:
    try:
        return not any(problems(read_manifest(checkpoint)))
    except CheckpointError:
        return False


def publish_run(folder: Path, run: str, keep_last: int, keep_every: int | None, sent: Sent) -> None:
    """Bring the run on storage up to date with the local folder, which holds all of it but older checkpoints.

    Args:
        sent: what is there already, which is not sent again as long as it does not change; brought up to date too.
    """
    there, here = _names(run), _names_in(folder)
    for name in sorted(name for name in here if not name.startswith("checkpoints/")):
        last = name.rsplit("/", 1)[-1]
        if last != LOCK and not last.endswith(".part"):
            with suppress(MissingFileError):  # of another that writes beside this one, and is done with it
                _send(folder, run, name, there, sent)
    whole = sorted(name.split("/")[1] for name in here if _is_manifest(name))
    for step in whole:
        _publish_step(folder, run, f"checkpoints/{step}/", here, there)
    if whole:
        _send(folder, run, f"checkpoints/{LATEST}", there, sent)
    # later ones were found damaged: they neither count nor go, and are replaced when the run comes to their steps
    newest = max((int(step.removeprefix("step-")) for step in whole), default=-1)
    steps = {_step_of(name) for name in here | there if _is_manifest(name)}
    keep = kept([step for step in steps if step <= newest], keep_last, keep_every)
    gone = [name for name in there if _is_of_a_step(name) and _step_of(name) <= newest and _step_of(name) not in keep]
    for name in sorted(gone, key=lambda name: not _is_manifest(name)):  # the manifest first
        storage.remove(storage.join(run, name))


def _send(folder: Path, run: str, name: str, there: set[str], sent: Sent) -> None:
    """Upload a file unless it is there as it is here."""
    try:
        stamp = _stamp(folder / name)  # before it is read: what is written meanwhile is sent the next time
    except FileNotFoundError:
        raise MissingFileError(f"{folder / name}: no such file") from None
    if name not in there or sent.get(name) != stamp:
        storage.upload(folder / name, storage.join(run, name))
        sent[name] = stamp


def _publish_step(folder: Path, run: str, prefix: str, here: set[str], there: set[str]) -> None:
    """Upload a checkpoint unless it is there; the same step of an earlier try, or half of one, is replaced."""
    manifest = prefix + MANIFEST
    if manifest in there:
        if storage.read_bytes(storage.join(run, manifest)) == (folder / manifest).read_bytes():
            return
        storage.remove(storage.join(run, manifest))
    mine = {name for name in here if name.startswith(prefix)}
    for name in sorted(mine - {manifest}):
        storage.upload(folder / name, storage.join(run, name))
    for name in sorted(name for name in there - mine if name.startswith(prefix)):
        storage.remove(storage.join(run, name))
    storage.upload(folder / manifest, storage.join(run, manifest))


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _names_in(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def _names(run: str) -> set[str]:
    return {storage.name_below(run, file) for file in storage.list_files(run)}


def _is_of_a_step(name: str) -> bool:
    return re.match(r"checkpoints/step-[0-9]+/", name) is not None


def _is_manifest(name: str) -> bool:
    return _is_of_a_step(name) and name.count("/") == 2 and name.endswith("/" + MANIFEST)


def _step_of(name: str) -> int:
    return int(name.split("/")[1].removeprefix("step-"))
