"""`gavt report`: what a run did and what came out, on one page that needs nothing beside it but a large gallery."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from cluster import storage
from pipeline.errors import CheckpointError, RunError
from pipeline.evaluate.measures.attention_sweep import SWEEP
from pipeline.evaluate.measures.contract import Table, tables_of
from pipeline.evaluate.playable import SOUNDS
from pipeline.evaluate.report.curves import draw_curves, said_of_maps
from pipeline.evaluate.report.facts import facts_of_run
from pipeline.evaluate.report.figures import best_figures, cell, groups_of, heading, make_tiles, of_each_run
from pipeline.evaluate.report.gallery import folder_beside, gallery_of, place_files
from pipeline.evaluate.report.players import make_players
from pipeline.evaluate.result import ATTENTION_SWEEP, EVALUATION
from pipeline.evaluate.run_files import evaluation_of, run_folder
from pipeline.pages import render_page
from pipeline.settings.load import Resolved, load_settings
from pipeline.train.checkpoints import find_checkpoint
from pipeline.train.metric_names import MAP_METRICS, metrics_of
from pipeline.train.records.metrics_log import read_records
from pipeline.train.run_settings import CONFIG, RunSettings

REPORT = "report.html"


def write_report(run: str, out: str | None = None, kind: type[RunSettings] = RunSettings) -> str:
    """Write the page of a run.

    Args:
        run: the run folder (its checkpoints' folders will do), local or s3://.
        out: the page's path; `report.html` in the run folder by default.
        kind: of all settings that the run recorded, those that are shown.

    Returns:
        The page's path.

    Raises:
        RunError: there is no run, or a file of it is damaged.
        StorageError: the page can't be written.
    """
    folder = run_folder(run)
    if not any(storage.exists(storage.join(folder, name)) for name in (CONFIG, "metrics.jsonl", EVALUATION)):
        raise RunError(
            f"{folder}: expected a run folder with config.yaml, metrics.jsonl or evaluation.json, found none"
        )
    target = out or storage.join(folder, REPORT)
    storage.check_file_writable(target)
    page = _render(folder, target, kind)
    storage.write_text(target, page)
    return target


def _render(folder: str, target: str, kind: type[RunSettings]) -> str:
    missing: list[str] = []
    config_url = storage.join(folder, CONFIG)
    settings = None
    if storage.exists(config_url):
        settings = load_settings(config_url, kind, recorded=True).settings
    else:
        missing.append("config.yaml is not there, so the settings are unknown.")
    records = _records(storage.join(folder, "metrics.jsonl"))
    if not records:
        missing.append("metrics.jsonl is not there or empty, so there are no curves: gavt train writes it.")
    events = _records(storage.join(folder, "events.jsonl"))
    evaluation = evaluation_of(folder) if storage.exists(storage.join(folder, EVALUATION)) else None
    if evaluation is None:
        missing.append("evaluation.json is not there yet: gavt evaluate writes it.")
    tables = [] if evaluation is None else tables_of(evaluation)
    if storage.exists(storage.join(folder, ATTENTION_SWEEP)):
        swept = tables_of(evaluation_of(folder, ATTENTION_SWEEP))
        tables = [table for table in tables if table.measure != SWEEP] + swept
    said = [] if evaluation is None else evaluation["left_out"]
    missing += [f"{sentence}." for sentence in [*said, *(note for one in tables if not one.rows for note in one.notes)]]
    metrics = metrics_of(settings.task if settings else None, records)
    label_aided = settings.task.label_aided if settings else evaluation["label_aided"] if evaluation else None
    facts = facts_of_run(records, events, _manifest(folder), evaluation, tables)
    gallery = gallery_of({folder: folder}, tables)
    addresses = place_files(gallery, target)
    return render_page(
        "pipeline.evaluate.report",
        "report.html.j2",
        title=settings.name if settings else folder.rstrip("/").rsplit("/", 1)[-1],
        subject="the run",
        folder=folder,
        made=datetime.now(timezone.utc).strftime("%d %B %Y, %H:%M UTC"),
        missing=missing,
        tiles=make_tiles(tables, records, metrics, label_aided is not None),
        curves=draw_curves(records, (*metrics, *MAP_METRICS)),
        said_of_maps=said_of_maps(records),
        label_aided=label_aided,
        warnings=evaluation["warnings"] if evaluation else [],
        tables=[(table, groups_of(table), best_figures(table)) for table in tables if table.rows],
        heading=heading,
        cell=cell,
        of_each_run=of_each_run,
        pictures=_pictures(folder, tables),
        gallery=gallery,
        addresses=addresses,
        beside=folder_beside(addresses),
        players=make_players(_sounds(storage.join(folder, SOUNDS))),
        facts=facts,
        settings=_settings_rows(settings),
    )


def _records(url: str) -> list[dict[str, Any]]:
    """Lines of a JSONL file of the run; empty if it isn't there."""
    if not storage.exists(url):
        return []
    with storage.local_copy(url) as file:
        return read_records(file)


def _manifest(folder: str) -> Mapping[str, Any] | None:
    try:
        return find_checkpoint(folder).manifest
    except CheckpointError:
        return None  # a run without a whole checkpoint is still worth a page


def _sounds(url: str) -> Mapping[str, Any]:
    return storage.read_json(url) if storage.exists(url) else {"samples": []}


def _pictures(folder: str, tables: Sequence[Table]) -> dict[str, str]:
    """The tables' pictures that are there, by name, as addresses that need nothing beside the page."""
    found = {}
    for name in (name for table in tables for name, _ in table.pictures):
        url = storage.join(folder, name)
        if storage.exists(url):
            found[name] = "data:image/png;base64," + base64.b64encode(storage.read_bytes(url)).decode()
    return found


def _settings_rows(settings: RunSettings | None) -> list[tuple[str, str, bool]]:
    """(dotted key, value, whether it differs from the default) of every setting."""
    if settings is None:
        return []
    defaults = {key: value for key, value, _ in Resolved(type(settings)()).rows()}
    return [(key, str(value), defaults.get(key) != value) for key, value, _ in Resolved(settings).rows()]
