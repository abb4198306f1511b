"""`gavt report` of several runs: their evaluations, curves and settings side by side, on one page."""

from collections.abc import Sequence
from datetime import datetime, timezone

from cluster import storage
from pipeline.evaluate.coverage import said_of_coverage
from pipeline.evaluate.measures.contract import Headline, Table, tables_of
from pipeline.evaluate.over_runs import over_runs, said_of_labels, summary
from pipeline.evaluate.report.curves import draw_curves
from pipeline.evaluate.report.facts import Fact
from pipeline.evaluate.report.figures import (
    Tile,
    best_figures,
    cell,
    figure,
    groups_of,
    heading,
    of_each_run,
    with_unit,
)
from pipeline.evaluate.report.gallery import folder_beside, gallery_of, place_files
from pipeline.evaluate.result import Evaluation
from pipeline.evaluate.run_files import evaluation_of, run_folder
from pipeline.evaluate.spread import interval
from pipeline.pages import render_page
from pipeline.train.metric_names import MAP_METRICS
from pipeline.train.records.compare import RecordedRun, differing_settings, read_run


def write_report_of_runs(runs: Sequence[str], out: str, splits: bool = False) -> str:
    """Write the page of several runs: figures are means over them, and those of each stand beside.

    Args:
        runs: run folders that were evaluated alike, local or s3://.
        out: the page's path.
        splits: the runs are of different splits of a benchmark, each judged on its own.

    Returns:
        The page's path.

    Raises:
        RunError: a run has no evaluation, or was judged on other samples or in another way.
        StorageError: the page can't be written.
    """
    storage.check_file_writable(out)
    folders = [run_folder(run) for run in runs]
    evaluations = [evaluation_of(folder) for folder in folders]
    storage.write_text(out, _render(folders, evaluations, splits, out))
    return out


def _render(folders: Sequence[str], evaluations: Sequence[Evaluation], splits: bool, target: str) -> str:
    together = over_runs(evaluations, folders, splits)
    tables, names = tables_of(together), [run["name"] for run in together["runs"]]
    recorded = {
        name: read_run(folder)
        for name, folder in zip(names, folders, strict=True)
        if storage.exists(storage.join(folder, "metrics.jsonl"))
    }
    unrecorded = [f"{name}: no metrics.jsonl, so no curves and settings" for name in names if name not in recorded]
    gallery = gallery_of({} if splits else dict(zip(names, folders, strict=True)), tables)
    addresses = place_files(gallery, target)
    labels = said_of_labels(together)
    aided = any(run["label_aided"] for run in together["runs"])
    return render_page(
        "pipeline.evaluate.report",
        "report.html.j2",
        title=f"{len(names)} runs",
        subject="the runs",
        folder=", ".join(folders),
        made=datetime.now(timezone.utc).strftime("%d %B %Y, %H:%M UTC"),
        missing=[f"{sentence}." for sentence in (*together["left_out"], *unrecorded)],
        tiles=_tiles([tables_of(one) for one in evaluations]),
        curves=_curves(recorded),
        said_of_maps=None,
        label_aided=_said_of_aid(labels) if aided else None,
        warnings=together["warnings"],
        tables=[(table, groups_of(table), best_figures(table)) for table in tables if table.rows],
        heading=heading,
        cell=cell,
        of_each_run=of_each_run,
        pictures={},
        gallery=gallery,
        addresses=addresses,
        beside=folder_beside(addresses),
        players={"players": []},
        facts=[
            Fact("evaluated", summary(together)),
            Fact("of what was listed", said_of_coverage(together["coverage"])),
            Fact("choices made on", together["validation"] or "nothing (no validation split was given)"),
            *_differing(recorded),
        ],
        settings=[],
    )


def _said_of_aid(labels: Sequence[str]) -> str:
    """Of runs of which labels helped some."""
    return labels[0] if len(labels) == 1 else f"label-aided in part ({'; '.join(labels)})"


def _tiles(of_runs: Sequence[Sequence[Table]]) -> list[Tile]:
    """The key figures that all runs have, as means."""
    by_label = [{headline.label: headline for table in tables for headline in table.headlines} for tables in of_runs]
    shared = [label for label in by_label[0] if all(label in one for one in by_label)]
    return [_tile([one[label] for one in by_label]) for label in shared]


def _tile(headlines: Sequence[Headline]) -> Tile:
    first, unit = headlines[0], headlines[0].unit
    over = interval([one.value for one in headlines])
    beside = f"± {figure(over.half, unit)} · {', '.join(figure(one.value, unit) for one in headlines)}"
    return Tile(first.label, with_unit(over.mean, unit), beside, over.mean if unit == "share" else None)


def _curves(recorded: dict[str, RecordedRun]) -> list[tuple[str, str]]:
    """Captions and pictures, those of a metric together."""
    drawn = []
    for name, run in recorded.items():
        records = [{"step": step, **record} for step, record in run.records.items()]
        drawn.append((name, draw_curves(records, (*run.metrics, *MAP_METRICS))))
    captions = dict.fromkeys(caption for _, curves in drawn for caption, _ in curves)
    return [
        (f"{caption}, {name}", svg)
        for caption in captions
        for name, curves in drawn
        for one, svg in curves
        if one == caption
    ]


def _differing(recorded: dict[str, RecordedRun]) -> list[Fact]:
    """Settings in which the runs differ."""
    found = differing_settings(list(recorded.values()))
    return [
        Fact(f"differs: {key}", "; ".join(f"{name}: {value}" for name, value in zip(recorded, values, strict=True)))
        for key, values in found.items()
    ]
