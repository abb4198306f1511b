"""`gavt separate`: the sound of each place of a video."""

from enum import Enum
from typing import Annotated

import typer

from jobs.list_options import VideoKeypointsOption
from jobs.number_options import finite
from jobs.output import JsonFlag, Overrides, console, print_json


class Format(str, Enum):
    """Of the sounds."""

    wav = "wav"
    flac = "flac"


def separate(
    video: Annotated[str, typer.Argument(help="Video with sound, local or s3://.")],
    checkpoint: Annotated[str, typer.Option(help="Run folder, its checkpoints/ or one checkpoint, local or s3://.")],
    out: Annotated[str, typer.Option(help="Folder of the sounds, strip.png, overlay.mp4; local or s3://.")],
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at", help="A point x,y or NAME=x,y in 0-1 of the upright frame; repeatable.", show_default=False
        ),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option("--box", help="A box x1,y1,x2,y2 or NAME=x1,y1,x2,y2 in 0-1; repeatable.", show_default=False),
    ] = None,
    clicks: Annotated[
        str | None,
        typer.Option(
            help="JSON lines or a list in JSON of places: name, x and y (or box), and a time in s where it moves.",
            show_default=False,
        ),
    ] = None,
    find: Annotated[bool, typer.Option("--all", help="The places that the model finds by itself.")] = False,
    sound_format: Annotated[Format, typer.Option("--format", help="Of the sounds, 24 bits each.")] = Format.wav,
    overlay: Annotated[
        float, typer.Option(min=0, callback=finite, help="Seconds of the video with its places marked; 0 for none.")
    ] = 60.0,
    keypoints: VideoKeypointsOption = None,
    config: Annotated[str | None, typer.Option(help="Settings file; by default the run's config.yaml.")] = None,
    overrides: Overrides = None,
    as_json: JsonFlag = False,
) -> None:
    """Take the sound of a place out of any video."""
    from jobs.progress import bars_of_seconds
    from pipeline.evaluate.overlay.video_keypoints import FoundKeypoints
    from pipeline.evaluate.run_files import config_of
    from pipeline.evaluate.separating.places import places_asked
    from pipeline.evaluate.separating.separate import separate as separate_video
    from pipeline.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings
    from pipeline.train.checkpoints import find_checkpoint

    places = places_asked(at or [], box or [], clicks, find)
    found = find_checkpoint(checkpoint)
    settings = load_settings(config or config_of(found.url), ExperimentSettings, overrides or []).settings
    persons = None if keypoints is None else FoundKeypoints(keypoints, settings.prepare.keypoints)
    screen = console(as_json)
    with bars_of_seconds(screen) as show:
        result = separate_video(
            video, checkpoint, out, settings.evaluate, places, sound_format.value, overlay, persons, show
        )
    if not result["places"]:
        screen.print("the model hears nothing that comes from any place")
    for sound in (*result["places"], result["rest"]):
        loud = "silent" if sound["loudness_db"] is None else f"{sound['loudness_db']:.1f} dB"
        screen.print(f"  {sound['file']}: {loud}, {100 * sound['share']:.1f} % of the energy")
        if sound["clipped"]:
            screen.print(f"warning: {sound['clipped']} samples of it were louder than full scale and were cut")
    screen.print("\n".join(f"  {name}" for name in (result["strip"], result["overlay"]) if name))
    if as_json:
        print_json(result)
