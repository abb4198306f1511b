"""`gavt inspect`: what is in a shard set, a page of its samples, and whether it is whole."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cluster.cores import usable_cores
from jobs.output import JsonFlag, console, print_json

if TYPE_CHECKING:
    from pipeline.inspect.summary import ShardSetSummary
    from pipeline.inspect.verify import Checked, Verified

_MOST_PROBLEMS_SHOWN = 20
_MOST_IN_JSON = 1000


def inspect(
    shards: Annotated[str, typer.Argument(help="A shard set, local or s3://.", show_default=False)],
    html: Annotated[
        str | None,
        typer.Option(help="The page's path; inspect.html in a local shard set or, of a remote one, here."),
    ] = None,
    page: Annotated[bool, typer.Option(help="Write the page of samples.")] = True,
    cards: Annotated[int, typer.Option(min=0, help="Samples on the page.")] = 24,
    samples: Annotated[
        int, typer.Option(min=1, help="Samples, by chance, that lengths, sizes and labels are of.")
    ] = 500,
    every: Annotated[bool, typer.Option("--all", help="Look at all samples instead.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed takes other samples.")] = 0,
    verify: Annotated[bool, typer.Option("--verify", help="Check every hash and decode every sample.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that check; all CPUs by default.", show_default=False)
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what is in a shard set, with a page of samples; --verify checks that it is whole (exit code 2 if not)."""
    screen = console(as_json)
    if verify:
        _verify(shards, usable_cores() if workers is None else workers, screen, as_json)
        return
    from cluster import storage
    from pipeline.inspect.contact_sheet import write_sheet
    from pipeline.inspect.contents import SHEET, read_contents
    from pipeline.inspect.summary import summarise

    target = (html or (SHEET if storage.is_remote(shards) else storage.join(shards, SHEET))) if page else None
    contents = read_contents(shards)
    if target is not None:
        storage.check_file_writable(target)
    summary = summarise(contents, None if every else samples, seed)
    _show(screen, summary)
    if target is not None:
        write_sheet(contents, summary, target, cards, seed)
        screen.print(f"page of samples: {target}", soft_wrap=True)
    if as_json:
        print_json({**asdict(summary), "html": target})


def _show(screen: Console, summary: "ShardSetSummary") -> None:
    from pipeline.inspect.figures import figures_of, spread

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value, beside in figures_of(summary):
        table.add_row(name, value, beside)
    table.add_row("frames a sample", spread(summary.frames), "")
    table.add_row("samples a shard", spread(summary.samples_per_shard), "")
    screen.print(table)
    if summary.reasons:
        failed = Table("failed", "videos", "for example", box=None, pad_edge=False)
        for reason, count in summary.reasons.items():
            failed.add_row(reason, f"{count:,}", summary.examples.get(reason, ""), style="yellow")
        screen.print(failed)
    chance = "" if summary.looked_at >= summary.samples else " by chance"
    screen.print(f"in {summary.looked_at:,} samples{chance}:")
    for name, counts in (
        ("labels", summary.labels),
        ("resolutions", summary.resolutions),
        ("splits", summary.splits),
        ("audio, Hz", summary.audio_rates_hz),
    ):
        if counts:
            words = ", ".join(f"{value} {count:,}" for value, count in counts.items())
            screen.print(f"  {name}: {words}")
    for sentence in [*summary.notes, *summary.unreadable[:_MOST_PROBLEMS_SHOWN]]:
        screen.print(sentence, style="yellow")


def _verify(shards: str, workers: int, screen: Console, as_json: bool) -> None:
    from pipeline.errors import ShardSetError
    from pipeline.inspect.verify import verify

    begun = time.monotonic()
    with _bar(screen) as show:
        verified = verify(shards, workers, show)
    seconds = time.monotonic() - begun
    _show_verified(screen, verified, seconds)
    wrong = len(verified.problems) + verified.more
    if as_json:
        print_json(
            {
                "shards": verified.shards,
                "shards_planned": verified.planned,
                "finished": verified.finished,
                "samples": verified.samples,
                "bytes": verified.bytes,
                "seconds": round(seconds, 3),
                "whole": verified.whole,
                "wrong": wrong,
                "problems": [asdict(problem) for problem in verified.problems[:_MOST_IN_JSON]],
                "notes": verified.notes,
            }
        )
    if not verified.whole:
        raise ShardSetError(f"{shards}: found {wrong} problems, such as {verified.problems[0]}")


def _show_verified(screen: Console, verified: "Verified", seconds: float) -> None:
    if verified.problems:
        table = Table("file", "sample", "what is wrong", box=None, pad_edge=False)
        for problem in verified.problems[:_MOST_PROBLEMS_SHOWN]:
            table.add_row(problem.file, problem.key or "", problem.what, style="red")
        screen.print(table)
        more = len(verified.problems) + verified.more - _MOST_PROBLEMS_SHOWN
        if more > 0:
            screen.print(f"and {more:,} more")
    for note in verified.notes:
        screen.print(note, style="yellow")
    megabytes = verified.bytes / 1e6
    screen.print(
        f"{verified.url}: {verified.samples:,} samples in {verified.shards:,} shards, {megabytes:,.1f} MB "
        f"in {seconds:.1f} s ({megabytes / max(seconds, 1e-3):,.1f} MB/s): "
        + ("whole" if verified.whole else f"{len(verified.problems) + verified.more:,} problems"),
        soft_wrap=True,
    )


@contextmanager
def _bar(screen: Console) -> Iterator[Any]:
    columns = (
        TextColumn("checking"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("shards · {task.fields[read]} · {task.fields[problems]} problems"),
        TimeRemainingColumn(),
    )
    begun = time.monotonic()
    with Progress(*columns, console=screen) as progress:
        task = progress.add_task("check", total=None, read="starting", problems=0)

        def show(done: "Checked") -> None:
            megabytes = done.bytes / 1e6
            rate = f"{megabytes:,.0f} MB, {megabytes / max(time.monotonic() - begun, 1e-3):,.0f} MB/s"
            progress.update(task, total=done.of, completed=done.shards, read=rate, problems=done.problems)

        yield show
