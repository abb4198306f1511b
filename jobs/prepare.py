"""`gavt prepare`: videos to shards."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from cluster.stop_signals import heeded_signals
from jobs.failure_options import MaxFailureRateOption, RetryOption
from jobs.list_options import ListWords, with_list_options
from jobs.output import JsonFlag, Overrides, console, print_json

if TYPE_CHECKING:
    from pipeline.prepare.manifests.read import Noted, VideoList
    from pipeline.prepare.prepare import Progress
    from pipeline.shards.dataset import Dataset

_MOST_NOTED_SHOWN = 3
_LINE_EVERY_S = 30.0


@with_list_options()
def prepare(
    out: Annotated[
        str, typer.Option("--out", "-o", help="Folder or s3:// prefix of the shard set.", show_default=False)
    ],
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders, lists of videos or videos; local or s3://. None goes on with the plan that is at --out.",
            show_default=False,
        ),
    ] = None,
    lists: ListWords = ListWords(),
    config: Annotated[
        str | None, typer.Option("--config", "-c", help="Settings file; its sections prepare and fetch are read.")
    ] = None,
    overrides: Overrides = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers; all CPUs by default.", show_default=False)
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="An existing Ray cluster (host:port or auto); else Ray is started here, if it is worth it."),
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Work in this process, without Ray: for debugging.")] = False,
    retry: RetryOption = None,
    max_failure_rate: MaxFailureRateOption = None,
    wandb: Annotated[str | None, typer.Option(help="Log rate and failures to this wandb project.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Turn videos into shards. Interrupted and started again, it does only what is missing."""
    from pipeline.experiment import ExperimentSettings
    from pipeline.prepare.manifests.read import VideoList
    from pipeline.prepare.prepare import in_this_process
    from pipeline.prepare.prepare import prepare as make
    from pipeline.prepare.wandb_progress import WandbProgress
    from pipeline.prepare.workers import where_it_pays
    from pipeline.settings.load import load_settings
    from pipeline.shards.ledger import reasons_to_retry

    settings = load_settings(config, ExperimentSettings, overrides or []).settings
    reasons = reasons_to_retry(retry or [])
    videos = VideoList(sources, lists.options()) if sources else None
    screen = console(as_json)
    begun = time.monotonic()
    try:
        with ExitStack() as stack:
            check = stack.enter_context(_interruptible())
            show = _both(check, stack.enter_context(_progress(screen)))
            if wandb is not None:
                log = WandbProgress(out, wandb, settings.prepare.model_dump(mode="json"))
                stack.callback(log.finish)
                show = _both(show, log.show)
            dataset = make(
                videos,
                out,
                settings.prepare,
                # Ray sets a handler of its own when it starts
                in_this_process
                if local
                else where_it_pays(stack, ray_address, workers, lambda: stack.enter_context(_interruptible())),
                fetch=settings.fetch,
                retry=reasons,
                max_failure_rate=max_failure_rate,
                on_progress=show,
            )
    except KeyboardInterrupt:
        screen.print(f"{out}: interrupted; the shards that are done stay, and the same command makes the missing ones")
        raise SystemExit(130) from None
    _tell(screen, videos, dataset, out, time.monotonic() - begun, as_json)


def _tell(
    screen: Console, videos: "VideoList | None", dataset: "Dataset", out: str, seconds: float, as_json: bool
) -> None:
    """Print what was made and what was left out.

    Raises:
        ShardSetError: nothing was made.
    """
    from pipeline.shards.dataset import check_samples

    left_out = {} if videos is None else {"repeated": videos.repeated, "wrong": videos.wrong, "apart": videos.apart}
    for noted in left_out.values():
        _note(screen, noted)
    _report(screen, dataset, out, seconds)
    if as_json:
        result = dataset.model_dump(mode="json", exclude={"shards"})
        counts = {kind: noted.count for kind, noted in left_out.items()}
        print_json({"out": out, **result, "shards": len(dataset.shards), **counts})
    check_samples(dataset, out)


@contextmanager
def _interruptible() -> "Iterator[Callable[[Progress], None]]":
    """SIGTERM and a terminal that is gone as Ctrl-C: all end the work in order, and the same command goes on later.

    Gives a function to call now and then: an interrupt that came in the middle of a library's callback was swallowed
    there, and is raised once more. Python would print where it was swallowed, which helps nobody.
    """
    came = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    def check(done: "Progress") -> None:
        if came:
            raise KeyboardInterrupt

    say_swallowed = sys.unraisablehook

    def say_all_else(swallowed: "sys.UnraisableHookArgs") -> None:
        if swallowed.exc_type is not KeyboardInterrupt:
            say_swallowed(swallowed)

    numbers = [number for number in heeded_signals() if number != signal.SIGUSR2]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    sys.unraisablehook = say_all_else
    try:
        yield check
    finally:
        sys.unraisablehook = say_swallowed
        for number, handler in before.items():
            signal.signal(number, handler)


def _both(first: "Callable[[Progress], None]", second: "Callable[[Progress], None]") -> "Callable[[Progress], None]":
    def show(done: "Progress") -> None:
        first(done)
        second(done)

    return show


@contextmanager
def _progress(screen: Console) -> "Iterator[Callable[[Progress], None]]":
    """Shows how far it is: a bar on a terminal, a line every half minute in a log."""
    begun = time.monotonic()

    def rate_of(done: "Progress") -> float:
        return done.videos / max(1e-9, time.monotonic() - begun)

    if not screen.is_terminal:
        told_at = begun

        def tell(done: "Progress") -> None:
            nonlocal told_at
            if time.monotonic() - told_at >= _LINE_EVERY_S and done.videos:
                told_at = time.monotonic()
                left = (done.to_do - done.videos) / rate_of(done)
                commonest = ", ".join(f"{reason} {count}" for reason, count in done.reasons.most_common(3))
                screen.print(
                    f"{done.found + done.videos} of {done.total} videos · {done.samples} samples · {done.failed} failed"
                    f"{f' ({commonest})' if commonest else ''} · {rate_of(done):.2f} videos/s · {left:.0f} s left"
                )

        yield tell
        return
    columns = (
        TextColumn("preparing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("videos · {task.fields[samples]} samples · {task.fields[failed]} failed · {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=screen) as bar:
        task = bar.add_task("prepare", total=None, samples=0, failed=0, rate="starting")

        def show(done: "Progress") -> None:
            rate = f"{rate_of(done):.1f} videos/s" if done.videos else "starting"
            bar.update(
                task,
                total=done.total,
                completed=done.found + done.videos,
                samples=done.samples,
                failed=done.failed,
                rate=rate,
            )

        yield show


def _note(screen: Console, noted: "Noted") -> None:
    for sentence in noted.examples[:_MOST_NOTED_SHOWN]:
        screen.print(f"left out: {sentence}", style="yellow")
    if noted.count > _MOST_NOTED_SHOWN:
        more = noted.count - _MOST_NOTED_SHOWN
        screen.print(f"left out: {more} more rows; gavt manifest check lists them", style="yellow")


def _report(screen: Console, dataset: "Dataset", out: str, seconds: float) -> None:
    table = Table("", "videos", "samples", "for example", box=None, pad_edge=False)
    table.add_row("in", str(dataset.videos), "", "")
    table.add_row("prepared", str(dataset.videos - dataset.failed), str(dataset.samples), "")
    if dataset.sound_repeated:
        why = "less sound than a sample holds: it is repeated (prepare.short_sound)"
        table.add_row("… repeated", str(dataset.sound_repeated), "", why)
    for reason, count in sorted(dataset.reasons.items(), key=lambda entry: (-entry[1], entry[0])):
        table.add_row(f"failed: {reason}", str(count), "", dataset.examples[reason], style="yellow")
    screen.print(table)
    size = sum(shard.bytes for shard in dataset.shards) / 1e6
    screen.print(
        f"{out}: {len(dataset.shards)} shards, {size:.1f} MB, in {seconds:.1f} s; every video is in ledger.jsonl"
    )
