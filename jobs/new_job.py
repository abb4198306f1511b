"""From the words of `gavt submit` to what a job's folder says of it; everything wrong in them is found here, before
anything is written or queued."""

import getpass
import os
import secrets
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from cluster import storage
from cluster.errors import InUseError, JobError
from cluster.file_lock import is_locked
from cluster.job_folder import JOBS, SETTINGS
from cluster.job_records import JobRecord, Place, ProgressFile, Resources, now
from cluster.masking import holds_secrets
from cluster.site_settings import SiteSettings
from cluster.storage.location import path_of
from jobs.verb_words import VerbWords

if TYPE_CHECKING:
    from typer.core import TyperCommand as Command

    from pipeline.experiment import ExperimentSettings

_HERE = ("-m", "jobs.cli")
_INSTALLED = ("-m", "gavt.jobs.cli")
"""The command wherever gavt is installed, from a wheel or not."""


def site_settings(file: str | None) -> SiteSettings:
    """The site's settings from a file, from that of `GAVT_SITE`, or the user's own; the defaults where there is none.

    Raises:
        SettingsError: a file that is missing or wrong.
    """
    from pipeline.settings.load import load_settings

    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "gavt" / "site.yaml"
    chosen = file or os.environ.get("GAVT_SITE") or (str(own) if own.is_file() else None)
    return load_settings(chosen, SiteSettings).settings


@dataclass(frozen=True)
class NewJob:
    """A job that was not written or submitted yet.

    Attributes:
        url: its folder.
        settings: text of its settings file.
    """

    record: JobRecord
    url: str
    settings: str


def new_job(
    verb: "Command", words: Sequence[str], place: Place, resources: Resources, attempts: int, site: SiteSettings
) -> NewJob:
    """What a job shall run.

    Its settings are read now, and the job gets a file with what they are: whatever becomes of the files that they came
    from while it waits, or between its attempts, changes nothing.

    Args:
        verb: of the `gavt` command.
        words: behind the verb, as a person would give them to it.

    Raises:
        UserError: they are wrong, hold a secret, or what they work on is worked on by another process.
    """
    if holds_secrets(words):
        raise JobError("a word of the command holds a secret, which would stand in the job's folder; put it elsewhere")
    name = str(verb.name)
    if name == "prepare" and (place == "ray" or resources.nodes > 1):
        words = [*words, "--ray-address", "auto"]  # that of all nodes, by RAY_ADDRESS
    given = VerbWords(verb, words)
    folder = given.folder
    sizes = _world_sizes(given.settings, resources.processes) if name == "train" else None
    progress = None
    if name == "prepare":
        progress = ProgressFile(url=folder, names="shard-*.json")
    elif name == "train":
        from cluster.lease import Lease
        from pipeline.train.run.run_folder import LOCK

        progress = ProgressFile(url=storage.join(folder, "checkpoints", "latest"))
        if storage.is_remote(folder):
            Lease(storage.join(folder, LOCK), "gavt train").check_free()
        elif is_locked(path_of(folder) / LOCK):
            raise InUseError(f"{folder}: another process is training in this run folder")
    settings = given.settings_text()
    storage.check_writable(folder)
    python = site.python or ("python3" if place == "ray" and site.ray.send else sys.executable)
    job = f"{name}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    url = storage.join(folder, JOBS, job)
    record = JobRecord(
        name=job,
        verb=name,
        place=place,
        python=python,
        program=(*site.container, site.container_python, *_INSTALLED) if site.container else (python, *_HERE),
        words=(name, *given.with_settings(storage.join(url, SETTINGS))),
        given=(name, *words),
        ranked=name != "prepare",
        directory=os.getcwd(),
        folder=folder,
        user=getpass.getuser(),
        host=socket.gethostname(),
        submitted=now(),
        resources=resources,
        world_sizes=sizes,
        progress=progress,
        attempts=attempts,
        site=site,
    )
    return NewJob(record, url, settings)


def _world_sizes(settings: "ExperimentSettings", processes: int) -> tuple[int, ...]:
    """Among how many ranks the batch can be shared out; as many as were asked for must be among them."""
    from pipeline.errors import SettingsError
    from pipeline.train.engine.deepspeed_settings import micro_batch_of

    micro_batch_of(settings.train, processes, settings.task)
    fitting = []
    for count in range(1, processes + 1):
        with suppress(SettingsError):
            micro_batch_of(settings.train, count, settings.task)
            fitting.append(count)
    return tuple(fitting)
