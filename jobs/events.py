"""`gavt events`: what happens in videos, when, and where."""

from typing import Annotated

import typer

from jobs.output import JsonFlag, Overrides, complain, console, print_json

_MOST_SHOWN = 40
"""Events of a video that are printed."""
_SAID = {"both": "seen and heard", "seen": "seen", "heard": "heard"}


def events(
    sources: Annotated[
        list[str], typer.Argument(help="Videos with sound, folders or lists of them, local or s3://; watched whole.")
    ],
    checkpoint: Annotated[str, typer.Option(help="Run folder, its checkpoints/ or one checkpoint, local or s3://.")],
    out: Annotated[str, typer.Option(help="Folder of events.jsonl, and a picture and maps a video; local or s3://.")],
    config: Annotated[str | None, typer.Option(help="Settings file; by default the run's config.yaml.")] = None,
    overrides: Overrides = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell what is seen and heard in videos, when, and where."""
    from jobs.progress import bars_of_seconds
    from pipeline.evaluate.events.events import watch
    from pipeline.evaluate.run_files import config_of
    from pipeline.experiment import ExperimentSettings
    from pipeline.prepare.manifests.read import VideoList
    from pipeline.settings.load import load_settings
    from pipeline.train.checkpoints import find_checkpoint

    found = find_checkpoint(checkpoint)
    settings = load_settings(config or config_of(found.url), ExperimentSettings, overrides or []).settings
    videos = VideoList(sources)
    screen = console(as_json)
    with bars_of_seconds(screen) as show:
        result = watch(videos, checkpoint, out, settings.evaluate, show)
    for video in result["videos"]:
        if video["error"] is not None:
            complain(video["error"])
            continue
        screen.print(f"{video['video']}: {len(video['events'])} events in {video['segments']} segments")
        for row in video["events"][:_MOST_SHOWN]:
            spent = f"{row['begin_s']:8.2f} – {row['end_s']:.2f} s"
            screen.print(f"  {spent}  {row['class']}, {_SAID[row['what']]}, {100 * row['confidence']:.0f} %")
        if len(video["events"]) > _MOST_SHOWN:
            screen.print(f"  and {len(video['events']) - _MOST_SHOWN} more")
        screen.print(f"  {video['strip']}")
    screen.print(result["rows"])
    if result["label_aided"]:
        screen.print(result["label_aided"], style="bold yellow", soft_wrap=True)
    if as_json:
        print_json(result)
    if result["failed"]:
        raise typer.Exit(2)
