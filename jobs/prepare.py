"""`gavt prepare`: videos to shards."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from jobs.output import JsonFlag, Overrides, console, print_json

if TYPE_CHECKING:
    from pipeline.prepare.manifests.read import Manifest
    from pipeline.prepare.prepare import Prepared
    from pipeline.prepare.prepare import Progress as Done
    from pipeline.prepare.settings import PrepareSettings

_MOST_REPEATED_SHOWN = 3


def prepare(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders, lists (.txt), manifests (.jsonl, .csv) or videos; local or s3://.", show_default=False
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", help="Folder or s3:// prefix of the shard set.", show_default=False)
    ],
    config: Annotated[
        str | None, typer.Option("--config", "-c", help="Settings file; its section prepare is read.")
    ] = None,
    overrides: Overrides = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers; all CPUs by default.", show_default=False)
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="An existing Ray cluster (host:port or auto); else Ray is started here.")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Work in this process, without Ray: for debugging.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Turn videos into shards. Interrupted and started again, it does only what is missing."""
    from pipeline.prepare.manifests.read import read_manifests
    from pipeline.settings.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings

    settings = load_settings(config, ExperimentSettings, overrides or []).settings.prepare
    screen = console(as_json)
    manifest = read_manifests(sources)
    for sentence in manifest.repeated[:_MOST_REPEATED_SHOWN]:
        screen.print(f"left out: {sentence}", style="yellow")
    if len(manifest.repeated) > _MOST_REPEATED_SHOWN:
        more = len(manifest.repeated) - _MOST_REPEATED_SHOWN
        screen.print(f"left out: {more} more rows that came twice", style="yellow")
    begun = time.monotonic()
    prepared = _run(screen, manifest, out, settings, None if local else (ray_address, workers))
    seconds = time.monotonic() - begun
    _report(screen, prepared, out, seconds)
    dataset = prepared.dataset
    if as_json:
        result = dataset.model_dump(mode="json", exclude={"shards"})
        print_json({"out": out, **result, "shards": len(dataset.shards), "repeated": len(manifest.repeated)})
    if not dataset.samples:
        from pipeline.errors import ShardSetError

        commonest = sorted(dataset.reasons.items(), key=lambda entry: -entry[1])[:3]
        reasons = ", ".join(f"{reason} ({count})" for reason, count in commonest)
        raise ShardSetError(f"{out}: none of {dataset.videos} videos gave a sample: {reasons}; see {out}/ledger.jsonl")


def _run(
    screen: Console,
    manifest: "Manifest",
    out: str,
    settings: "PrepareSettings",
    pool: tuple[str | None, int | None] | None,
) -> "Prepared":
    from pipeline.prepare.prepare import in_this_process, on_ray
    from pipeline.prepare.prepare import prepare as make

    try:
        with _interrupted_by_sigterm(), _bar(screen) as show:
            if pool is None:
                return make(manifest, out, settings, in_this_process, show)
            from cluster.ray_pool import RayPool

            with RayPool(*pool) as ray_pool, _interrupted_by_sigterm():  # Ray sets a handler of its own when it starts
                return make(manifest, out, settings, on_ray(ray_pool), show)
    except KeyboardInterrupt:
        screen.print(f"{out}: interrupted; the shards that are done stay, and the same command makes the missing ones")
        raise


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM as Ctrl-C: it ends the work in order, and the same command goes on later."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _bar(screen: Console) -> Iterator[Any]:
    columns = (
        TextColumn("preparing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("videos · {task.fields[samples]} samples · {task.fields[failed]} failed · {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    begun = time.monotonic()
    with Progress(*columns, console=screen) as progress:
        task = progress.add_task("prepare", total=None, samples=0, failed=0, rate="starting")

        def show(done: "Done") -> None:
            new = done.videos - done.found
            rate = f"{new / (time.monotonic() - begun):.1f} videos/s" if new else "starting"
            progress.update(
                task, total=done.total, completed=done.videos, samples=done.samples, failed=done.failed, rate=rate
            )

        yield show


def _report(screen: Console, prepared: "Prepared", out: str, seconds: float) -> None:
    dataset = prepared.dataset
    table = Table("", "videos", "samples", "for example", box=None, pad_edge=False)
    table.add_row("in", str(dataset.videos), "", "")
    table.add_row("prepared", str(dataset.videos - dataset.failed), str(dataset.samples), "")
    examples: dict[str, str] = {}
    for entry in prepared.inputs:
        if entry.reason:
            examples.setdefault(entry.reason, f"{entry.source}: {entry.message}")
    for reason, count in _by_count(dataset.reasons):
        table.add_row(f"failed: {reason}", str(count), "", examples[reason], style="yellow")
    screen.print(table)
    size = sum(shard.bytes for shard in dataset.shards) / 1e6
    screen.print(
        f"{out}: {len(dataset.shards)} shards, {size:.1f} MB, in {seconds:.1f} s; every video is in ledger.jsonl"
    )


def _by_count(reasons: dict[str, int]) -> Sequence[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0]))
