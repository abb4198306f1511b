"""Bringing wandb's server up to date with a run that was logged offline, or while the server was away."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cluster import storage
from cluster.scratch import scratch_folder
from cluster.storage.location import path_of
from pipeline.errors import RunError
from pipeline.settings.load import load_settings
from pipeline.settings.yaml_text import dump_yaml, parse_yaml
from pipeline.train.records.metrics_log import read_records
from pipeline.train.records.wandb_address import ADDRESS, RUN_ID
from pipeline.train.records.wandb_sink import WandbSink
from pipeline.train.run_settings import CONFIG, RunSettings

_OF_WANDB = tuple(f"wandb/{name}" for name in (RUN_ID, ADDRESS))
_NEEDED = (CONFIG, "metrics.jsonl", "events.jsonl", *_OF_WANDB)


def sync_run(
    run: str,
    entity: str | None = None,
    project: str | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> int:
    """Send wandb's server those records of a run (path or URL) that it lacks; doing it again sends nothing twice.

    The run may still be training offline. Account and server are those of `wandb login`, or of WANDB_API_KEY and
    WANDB_BASE_URL.

    Args:
        entity, project: another place than the run's own; from then on it is the run's own.
        tell: told, in sentences, where the records go.

    Returns:
        The number of records that were sent.

    Raises:
        RunError: there is no such run, or wandb can't be reached or does not take it.
        StorageError: the run folder, where the wandb run's id is kept, can't be written to.
    """
    if not storage.exists(storage.join(run, "metrics.jsonl")):
        raise RunError(f"{run}: expected a run folder with metrics.jsonl, found none")
    storage.check_writable(run)
    asked = {name: value for name, value in (("entity", entity), ("project", project)) if value}
    with _local(run) as folder:
        before = load_settings(str(folder / CONFIG), RunSettings, recorded=True).settings
        settings = _with(before, asked)
        records = read_records(folder / "metrics.jsonl")
        home = run if storage.is_remote(run) else str(path_of(run).absolute())
        sink = WandbSink.open(settings, folder, home, tell, catch_up=True)
        assert sink is not None  # as it was asked for
        lacking = [record for record in records if record["step"] > sink.last_step]
        sink.begin(records, read_records(folder / "events.jsonl"))
        sink.finish()
        if any(getattr(before.train.wandb, name) not in (None, value) for name, value in asked.items()):
            _write_names(run, asked)
    return len(lacking)


def _with(settings: RunSettings, names: Mapping[str, str]) -> RunSettings:
    """The settings with other ones of wandb."""
    wandb = settings.train.wandb.model_copy(update=dict(names))
    return settings.model_copy(update={"train": settings.train.model_copy(update={"wandb": wandb})})


def _write_names(run: str, names: Mapping[str, str]) -> None:
    """Note the names in the run's config.yaml, whose own ones would win the next time."""
    config = storage.join(run, CONFIG)
    recorded = parse_yaml(storage.read_text(config))
    recorded.setdefault("train", {}).setdefault("wandb", {}).update(names)
    storage.write_text(config, dump_yaml(recorded))


@contextmanager
def _local(run: str) -> Iterator[Path]:
    """The run folder, or for one on object storage a copy of what is needed of it; whose wandb run it is goes back."""
    if not storage.is_remote(run):
        yield path_of(run)
        return
    with scratch_folder("gavt-sync-") as scratch:
        folder = scratch / "run"
        names = [storage.name_below(run, file) for file in storage.list_files(run)]
        needed = [name for name in names if name in _NEEDED or name.startswith("maps/")]
        for name, place in storage.local_places(needed, folder, run).items():
            storage.download(storage.join(run, name), place)
        yield folder
        for name in _OF_WANDB:
            storage.upload(folder / name, storage.join(run, name))
