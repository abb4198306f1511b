"""From the words of `gavt submit` to what a job's folder says of it; everything wrong in them is found here, before
anything is written or queued."""

import getpass
import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster import storage
from cluster.errors import JobError
from cluster.file_lock import is_locked
from cluster.job_records import JobRecord, Place, ProgressFile, Resources, now
from cluster.masking import holds_secrets
from cluster.site_settings import SiteSettings
from cluster.storage.location import path_of

if TYPE_CHECKING:
    from typer.core import TyperCommand as Command

GAVT = ("-m", "jobs.cli")


def site_settings(file: str | None) -> SiteSettings:
    """The site's settings from a file, from that of `GAVT_SITE`, or the user's own; the defaults where there is none.

    Raises:
        SettingsError: a file that is missing or wrong.
    """
    from pipeline.settings.load import load_settings

    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "gavt" / "site.yaml"
    chosen = file or os.environ.get("GAVT_SITE") or (str(own) if own.is_file() else None)
    return load_settings(chosen, SiteSettings).settings


def new_record(
    verb: "Command", words: Sequence[str], place: Place, resources: Resources, attempts: int, site: SiteSettings
) -> JobRecord:
    """What a job shall run.

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
    folder, completed = _work_of(name, words, parsed := _parsed(verb, words))
    sizes = _world_sizes(parsed, resources.processes) if name == "train" else None
    progress = None
    if name == "prepare":
        progress = ProgressFile(url=folder, names="shard-*.json")
    elif name == "train":
        from pipeline.train.run.run_folder import LOCK

        progress = ProgressFile(url=storage.join(folder, "checkpoints", "latest"))
        if not storage.is_remote(folder) and is_locked(path_of(folder) / LOCK):
            raise JobError(f"{folder}: another process is training in this run folder")
    storage.check_writable(folder)
    python = site.python or ("python3" if place == "ray" and site.ray.send else sys.executable)
    return JobRecord(
        name=f"{name}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        verb=name,
        place=place,
        python=python,
        program=(*site.container, site.container_python, *GAVT) if site.container else (python, *GAVT),
        words=(name, *completed),
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


def _parsed(verb: "Command", words: Sequence[str]) -> Mapping[str, Any]:
    """What the verb itself makes of the words; it ends with its own sentence where it can't."""
    with verb.make_context(f"gavt {verb.name}", list(words)) as context:
        parsed: Mapping[str, Any] = context.params
    return parsed


def _work_of(verb: str, words: Sequence[str], parsed: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The folder that a verb works on, and its words with that folder named; wrong settings are refused."""
    from pipeline.evaluate.run_files import config_of, run_folder
    from pipeline.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings

    overrides = [*(parsed["overrides"] or []), *(parsed.get("more") or [])]
    if verb == "evaluate":
        run = run_folder(parsed["checkpoint"])
        load_settings(parsed["config"] or config_of(parsed["checkpoint"]), ExperimentSettings, overrides)
        return storage.absolute(parsed["out"] or run), list(words)
    settings = load_settings(parsed["config"], ExperimentSettings, overrides).settings
    if verb == "prepare":
        return storage.absolute(parsed["out"]), list(words)
    if parsed["run"] is not None:
        return storage.absolute(parsed["run"]), list(words)
    folder = storage.absolute(f"runs/{settings.name}")
    return folder, [*words, "--run", folder]


def _world_sizes(parsed: Mapping[str, Any], processes: int) -> tuple[int, ...]:
    """Among how many ranks the batch can be shared out; as many as were asked for must be among them."""
    from pipeline.errors import SettingsError
    from pipeline.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings
    from pipeline.train.engine.deepspeed_settings import micro_batch_of

    overrides = [*(parsed["overrides"] or []), *(parsed["more"] or [])]
    settings = load_settings(parsed["config"], ExperimentSettings, overrides).settings
    micro_batch_of(settings.train, processes, settings.task)
    fitting = []
    for count in range(1, processes + 1):
        with suppress(SettingsError):
            micro_batch_of(settings.train, count, settings.task)
            fitting.append(count)
    return tuple(fitting)
