"""Bringing wandb's server up to date with a run that was logged offline, or while the server was away."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import storage
from pipeline.errors import RunError
from pipeline.settings.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.metrics_log import read_records
from pipeline.train.run_folder import CONFIG
from pipeline.train.wandb_sink import RUN_ID, WandbSink

_NEEDED = (CONFIG, "metrics.jsonl", "events.jsonl", f"wandb/{RUN_ID}")


def sync_run(run: str) -> int:
    """Send wandb's server those records of a run (path or URL) that it lacks; doing it again sends nothing twice.

    The run may still be training offline. Account and server are those of `wandb login`, or of WANDB_API_KEY and
    WANDB_BASE_URL.

    Returns:
        The number of records that were sent.

    Raises:
        RunError: there is no such run, or wandb can't be reached.
    """
    if not storage.exists(storage.join(run, "metrics.jsonl")):
        raise RunError(f"{run}: expected a run folder with metrics.jsonl, found none")
    with _local(run) as folder:
        settings = load_settings(str(folder / CONFIG), ExperimentSettings).settings
        records = read_records(folder / "metrics.jsonl")
        sink = WandbSink.open(settings, folder, catch_up=True)
        assert sink is not None  # as it was asked for
        lacking = [record for record in records if record["step"] > sink.last_step]
        sink.begin(records, read_records(folder / "events.jsonl"))
        sink.finish()
    return len(lacking)


@contextmanager
def _local(run: str) -> Iterator[Path]:
    """The run folder, or for one on object storage a copy of what is needed of it, whose run id goes back."""
    if not storage.is_remote(run):
        yield Path(run)
        return
    with tempfile.TemporaryDirectory(prefix="gavt-sync-") as scratch:
        folder = Path(scratch)
        for file in storage.list_files(run):
            name = file.url[len(run.rstrip("/")) + 1 :]
            if name in _NEEDED or name.startswith("maps/"):
                storage.download(file.url, folder / name)
        yield folder
        storage.upload(folder / "wandb" / RUN_ID, storage.join(run, "wandb", RUN_ID))
