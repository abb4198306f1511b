"""`gavt localize`: a video with a heat map of where its sound comes from."""

from typing import Annotated

import typer

from jobs.list_options import VideoKeypointsOption
from jobs.number_options import finite
from jobs.output import JsonFlag, Overrides, console, print_json


def localize(
    video: Annotated[str, typer.Argument(help="Video with sound, local or s3://.")],
    checkpoint: Annotated[str, typer.Option(help="Run folder, its checkpoints/ or one checkpoint, local or s3://.")],
    out: Annotated[str, typer.Option(help="Folder of overlay.mp4, strip.png and maps.npz, local or s3://.")],
    every: Annotated[float, typer.Option(min=0.04, callback=finite, help="Seconds between two maps.")] = 0.5,
    readout: Annotated[
        str | None, typer.Option(help="How maps are made; by default what gavt evaluate chose for the run.")
    ] = None,
    keypoints: VideoKeypointsOption = None,
    config: Annotated[str | None, typer.Option(help="Settings file; by default the run's config.yaml.")] = None,
    overrides: Overrides = None,
    as_json: JsonFlag = False,
) -> None:
    """Show where the sound of any video comes from."""
    from jobs.progress import bars_of_seconds
    from pipeline.evaluate.overlay.localize import localize as localize_video
    from pipeline.evaluate.overlay.video_keypoints import FoundKeypoints
    from pipeline.evaluate.run_files import config_of
    from pipeline.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings
    from pipeline.train.checkpoints import find_checkpoint

    found = find_checkpoint(checkpoint)
    settings = load_settings(config or config_of(found.url), ExperimentSettings, overrides or []).settings
    persons = None if keypoints is None else FoundKeypoints(keypoints, settings.prepare.keypoints)
    screen = console(as_json)
    with bars_of_seconds(screen) as show:
        result = localize_video(video, checkpoint, out, settings.evaluate, every, readout, persons, show)
    screen.print(f"{result['moments']} maps by {result['readout']}, step {result['step']} of {result['checkpoint']}")
    if result["label_aided"]:
        screen.print(result["label_aided"], style="bold yellow", soft_wrap=True)
    if result["sound_repeated"]:
        screen.print("its sound is shorter than the model hears at once, so it was repeated")
    if result["not_finite"]:
        screen.print(f"warning: {result['not_finite']} maps are not finite (NaN or infinite) and show no heat")
    for name in (result["overlay"], result["strip"], result["maps"]):
        screen.print(f"  {name}")
    if as_json:
        print_json(result)
