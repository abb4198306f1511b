"""`gavt synth`: render a synthetic world of videos with exact ground truth."""

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cluster.cores import usable_cores
from jobs.output import JsonFlag, Overrides, console, print_json
from jobs.tables import print_tables


def synth(
    out: Annotated[str, typer.Option("--out", help="Folder of the world, local or s3://.")],
    config: Annotated[str | None, typer.Option("--config", help="Settings file; its section `synth` counts.")] = None,
    world: Annotated[
        str | None, typer.Option("--world", help="timbre_scenes (default), sync_movers or event_strips.")
    ] = None,
    difficulty: Annotated[
        str | None,
        typer.Option("--difficulty", help="Of instruments. easy: colour belongs to the class. hard: only shape does."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Everything random follows from it.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes; 0: one a CPU core.")] = 0,
    check: Annotated[
        bool, typer.Option("--check", help="Print what shortcuts reach on it; alone, of a world that is there.")
    ] = False,
    overrides: Overrides = None,
    as_json: JsonFlag = False,
) -> None:
    """Render a synthetic world: videos of which all is known: what sounds, and where. Goes on where it was stopped."""
    given = list(overrides or [])
    given += [f"synth.kind={world}"] if world is not None else []
    given += [f"synth.difficulty={difficulty}"] if difficulty is not None else []
    given += [f"seed={seed}"] if seed is not None else []
    result: dict[str, Any] = {"out": out}
    if not check or given or config is not None or not _is_there(out):
        result = _render(out, config, given, workers, as_json)
    if check:
        result["tables"] = _check(out, as_json)
    if as_json:
        print_json(result)


def _is_there(out: str) -> bool:
    from cluster import storage
    from pipeline.worlds.world import WORLD_FILE

    return storage.exists(storage.join(out, WORLD_FILE))


def _render(out: str, config: str | None, given: list[str], workers: int, as_json: bool) -> dict[str, Any]:
    from pipeline.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings
    from pipeline.worlds.world import render_world

    settings = load_settings(config, ExperimentSettings, given).settings
    screen = console(as_json)
    start = time.monotonic()
    with _bar("rendering", "scenes", screen) as bar:
        task = bar.add_task("", total=sum(settings.synth.scenes.values()))
        summary = render_world(
            settings.synth,
            out,
            settings.seed,
            workers or usable_cores(),
            lambda scenes: bar.advance(task, scenes),
        )
    seconds = time.monotonic() - start
    table = Table("manifest", "videos", "path", box=None, pad_edge=False)
    for manifest, videos in summary.videos.items():
        table.add_row(manifest, str(videos), f"{out.rstrip('/')}/{manifest}.jsonl")
    screen.print(table)
    screen.print(f"{summary.rendered} videos rendered, {summary.kept} kept, {seconds:.1f} s")
    return {**asdict(summary), "seconds": round(seconds, 3)}


def _check(out: str, as_json: bool) -> list[dict[str, Any]]:
    from pipeline.evaluate.measures.contract import as_json as written
    from pipeline.evaluate.shortcuts.check import check_world

    screen = console(as_json)
    with _bar("checking", "videos", screen) as bar:
        task = bar.add_task("", total=None)
        tables = check_world(out, on_video=lambda: bar.advance(task))
    print_tables(tables, screen)
    return written(tables)


def _bar(doing: str, what: str, screen: Console) -> Progress:
    columns = (
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=screen)
