"""What the launcher says of a run whose processes are gone; light to import, as it must not hold a restart up."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from cluster import storage
from cluster.job_environment import JobEnvironment
from cluster.private_folder import private_folder
from cluster.scratch import temporary_place
from cluster.storage.plain_errors import said_plainly
from pipeline.train.records.metrics_log import append_event

LOGS = "logs"


def note_crash(run: str, **details: Any) -> None:
    """Append the event `rank_failed` to a run (path or URL), and save what a remote run's processes left in its local
    folder: logs, stacks and events."""
    if storage.is_remote(run):
        folder = own_local_folder(run)
        if _goes_on(folder / "events.jsonl", storage.join(run, "events.jsonl")):
            publish_logs(folder, run)
    append_event(run, "rank_failed", **details)


def publish_logs(folder: Path, run: str) -> None:
    """Bring events, logs and stacks of a remote run's local folder to the run (URL)."""
    for file in [folder / "events.jsonl", *sorted((folder / LOGS).glob("*"))]:
        if file.exists():
            storage.upload(file, storage.join(run, str(file.relative_to(folder))))


def log_name(rank: int) -> str:
    """Name of a process's log among the logs of a run."""
    return f"rank-{rank:05d}.log"


def own_logs(folder: Path, rank: int) -> list[Path]:
    """The log of a process in a run's local folder, where it is and, of one that hung, its stacks."""
    return sorted((folder / LOGS).glob(f"*rank-{rank:05d}.*"))


def _goes_on(events: Path, published: str) -> bool:
    """Whether a local file begins as the published one: it does not where the processes ended before they fetched it,
    and it is what an earlier job left."""
    if not events.exists():
        return False
    before = storage.read_text(published) if storage.exists(published) else ""
    return events.read_text(encoding="utf-8").startswith(before)


def local_folders(run: str) -> str:
    """What the names of a remote run's local folders begin with, those of other machines that have this place too."""
    name = hashlib.sha256(run.rstrip("/").encode()).hexdigest()[:16]
    return f"gavt-run-{os.getuid()}-{name}-"


def local_folder(run: str) -> Path:
    """Where a remote run works on this machine."""
    machine = re.sub(r"[^\w.-]", "_", JobEnvironment.of_this_process().machine)
    return temporary_place() / f"{local_folders(run)}{machine}"


def own_local_folder(run: str) -> Path:
    """The `local_folder` of a run, which others can guess; made if need be.

    Raises:
        StorageError: somebody else has put something there, or it can't be made.
    """
    folder = local_folder(run)
    with said_plainly("make", folder):
        return private_folder(folder)
