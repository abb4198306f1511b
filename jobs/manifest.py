"""`gavt manifest`: look at lists of videos, turn them into gavt's own form, check them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jobs.list_options import ListsArgument, ListWords, with_list_options
from jobs.output import JsonFlag, console, print_json

if TYPE_CHECKING:
    from pipeline.prepare.manifests.read import VideoList
    from pipeline.prepare.manifests.row import VideoRow
    from pipeline.prepare.manifests.summary import ListSummary

app = typer.Typer(help="Look at lists of videos, convert them, check them.", no_args_is_help=True)

_LABELS_SHOWN = 20


@app.command("info")
@with_list_options(without=("keypoints", "offsets", "max_offset"))
def info(
    sources: ListsArgument,
    lists: ListWords = ListWords(),
    as_json: JsonFlag = False,
) -> None:
    """Print what is in lists: rows, splits, labels, ranges, and where the videos are."""
    from pipeline.prepare.manifests.read import VideoList
    from pipeline.prepare.manifests.summary import summarise

    videos = VideoList(sources, lists.options(need_places=False))
    summary = summarise(videos)
    console(as_json).print(_table(videos, summary))
    if as_json:
        print_json(_figures(videos, summary))


@app.command("convert")
@with_list_options()
def convert(
    sources: ListsArgument,
    out: Annotated[
        str,
        typer.Option(
            "--out", "-o", help="List to write: .jsonl, .csv or .parquet; local or s3://.", show_default=False
        ),
    ],
    lists: ListWords = ListWords(),
    as_json: JsonFlag = False,
) -> None:
    """Write lists as one list of gavt's own form, with absolute sources and everything that is known of the rows."""
    from pipeline.prepare.manifests.read import VideoList
    from pipeline.prepare.manifests.write import write_list

    screen = console(as_json)
    videos = VideoList(sources, lists.options())
    rows = write_list(videos, out)
    left_out = {"repeated": videos.repeated, "wrong": videos.wrong, "apart": videos.apart}
    for kind, noted in left_out.items():
        if noted.count:
            screen.print(f"left out: {noted.count} {kind} rows, such as {noted.examples[0]}", style="yellow")
    screen.print(f"{out}: {rows} rows")
    if as_json:
        print_json({"out": out, "rows": rows, **{kind: noted.count for kind, noted in left_out.items()}})


@app.command("check")
@with_list_options(without=("offsets", "max_offset", "skip_wrong"))
def check(
    sources: ListsArgument,
    files: Annotated[
        bool,
        typer.Option("--files", help="Also ask whether files, here or on object storage, are there; keypoints too."),
    ] = False,
    lists: ListWords = ListWords(),
    as_json: JsonFlag = False,
) -> None:
    """Print all wrong and repeated rows with file and line. Exit code 2 if rows are wrong or files are missing."""
    from pipeline.errors import ManifestError
    from pipeline.prepare.manifests.presence import is_asked_for, missing
    from pipeline.prepare.manifests.read import VideoList
    from pipeline.prepare.manifests.row_errors import NoVideosError

    screen = console(as_json)

    def show(kind: str, sentence: str) -> None:
        screen.print(f"{kind}: {sentence}", style="yellow", soft_wrap=True)

    options = replace(lists, skip_wrong=True).options(need_places=files)
    videos = VideoList(sources, options, show)
    rows, asked, gone = 0, 0, 0

    def counted() -> Iterator["VideoRow"]:
        nonlocal rows, asked
        for row in videos:
            rows += 1
            asked += is_asked_for(row)
            yield row

    try:
        if files:
            for row, place in missing(counted()):
                gone += 1
                show("missing", f"{place} (video {row.video})")
        else:
            rows = sum(1 for _ in videos)
    except NoVideosError:
        if not videos.wrong.count:  # else all rows are wrong, which is said below
            raise
    wrong, repeated = videos.wrong.count, videos.repeated.count
    counts = f"{rows} rows, {wrong} wrong, {repeated} repeated" + (f", {gone} files missing" if files else "")
    screen.print(f"{', '.join(place for place, _ in videos.formats)}: {counts}")
    if as_json:
        result: dict[str, Any] = {"rows": rows, "wrong": wrong, "repeated": repeated}
        examples = {"wrong": videos.wrong.examples, "repeated": videos.repeated.examples}
        print_json({**result, **({"looked_for": asked, "missing": gone} if files else {}), "examples": examples})
    if wrong or gone:
        raise ManifestError(f"{', '.join(sources)}: expected a list without fault, found {counts}")
    if files and not asked:
        raise ManifestError(
            f"{', '.join(sources)}: --files expects files here or on object storage, found none in {rows} rows"
        )


def _table(videos: "VideoList", summary: "ListSummary") -> Table:
    table = Table("", "", "", box=None, pad_edge=False, show_header=False)
    for place, name in videos.formats:
        table.add_row("list", place, name)
    table.add_row("rows", "", str(summary.rows))
    for kind, noted in (("wrong", videos.wrong), ("repeated", videos.repeated)):
        if noted.count:
            table.add_row(kind, noted.examples[0], str(noted.count), style="yellow")
    for kind, count in summary.kinds.most_common():
        table.add_row("videos", kind, str(count))
    if videos.split_share is not None:
        table.add_row("split share", videos.split_share, "")
    for split, count in sorted(summary.splits.items(), key=lambda entry: -entry[1]):
        table.add_row("split", split or "none", str(count))
    if summary.ranges:
        lengths = f"{summary.shortest_s:g} to {summary.longest_s:g} s, {summary.range_s / 3600:.1f} hours in all"
        table.add_row("ranges", lengths, str(summary.ranges))
    for what, count in (("boxes", summary.boxes), ("segments", summary.segments)):
        if count:
            table.add_row(what, "", str(count))
    for label, count in summary.labels.most_common(_LABELS_SHOWN):
        table.add_row("label", label, str(count))
    if len(summary.labels) > _LABELS_SHOWN:
        table.add_row("label", f"and {len(summary.labels) - _LABELS_SHOWN} more", "")
    return table


def _figures(videos: "VideoList", summary: "ListSummary") -> dict[str, Any]:
    return {
        "lists": [{"source": place, "format": name} for place, name in videos.formats],
        "rows": summary.rows,
        "wrong": videos.wrong.count,
        "repeated": videos.repeated.count,
        "kinds": dict(summary.kinds.most_common()),
        "split_share": videos.split_share,
        "splits": {split or "": count for split, count in summary.splits.most_common()},
        "ranges": summary.ranges,
        "range_s": summary.range_s,
        "shortest_s": summary.shortest_s,
        "longest_s": summary.longest_s,
        "boxes": summary.boxes,
        "segments": summary.segments,
        "labels": len(summary.labels),
        "commonest_labels": dict(summary.labels.most_common(_LABELS_SHOWN)),
    }
