"""Options of every verb that reads lists of videos."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.number_options import finite

if TYPE_CHECKING:
    from pipeline.prepare.manifests.options import ListOptions

ListsArgument = Annotated[
    list[str], typer.Argument(help="Folders, prefixes, lists of videos or videos; local or s3://.", show_default=False)
]
FormatOption = Annotated[
    str | None,
    typer.Option("--format", help="How the lists are to be read; recognised by default.", show_default=False),
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        help="Where the videos of lists of ids lie, such as '/data/{video}.mp4' or 's3://bucket/{youtube}.mp4'; fields "
        "{video} {youtube} {split} {label} {start} {end}. With {start} in it, as in '{youtube}_{start:06d}.mp4', or "
        "with {video} for lists of parts (VGGSound, AudioSet, Kinetics), the files are cut to the rows' ranges "
        "already and are taken whole. By default ids are downloaded from YouTube.",
        show_default=False,
    ),
]
SoundOption = Annotated[
    str | None,
    typer.Option(
        "--sound",
        help="Where the sounds lie of a list whose --source are images, such as '/data/audio/{video}.wav'.",
        show_default=False,
    ),
]
KeypointsOption = Annotated[
    str | None,
    typer.Option(
        "--keypoints",
        help="Where the keypoints lie that AlphaPose, OpenPose or another tool found in the videos: a folder with "
        "VIDEO.json or a folder VIDEO for each, or fields as of --source, such as '/pose/{youtube}.json'.",
        show_default=False,
    ),
]
VideoKeypointsOption = Annotated[
    str | None,
    typer.Option(
        "--keypoints",
        help="Keypoints that AlphaPose, OpenPose or another tool found in the video, for models that take them: a JSON "
        "file or a folder, local or s3://, read as prepare.keypoints says.",
        show_default=False,
    ),
]
SplitOption = Annotated[str | None, typer.Option("--split", help="Only rows of this split.", show_default=False)]
SplitListOption = Annotated[
    list[str] | None,
    typer.Option(
        "--split-list",
        help="A list that names the videos of a split, which is in its rows or its name, such as music21_train.csv; "
        "repeatable. Videos in none of them are left out; --split then chooses one of the splits.",
        show_default=False,
    ),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option("--label", help="Only rows that have no other labels than this; repeatable.", show_default=False),
]
SplitShareOption = Annotated[
    list[str] | None,
    typer.Option(
        "--split-share",
        help="Hold a share of the videos out, such as validation=0.1; repeatable. The rest is train. All rows of a "
        "video go to the same split, the same one every time; --split then chooses one of them.",
        show_default=False,
    ),
]
OffsetsOption = Annotated[
    str | None,
    typer.Option(
        "--offsets",
        help="Leave out videos whose sound and picture are apart by this file, which gavt offset --out wrote; those of "
        "which it says nothing are taken.",
        show_default=False,
    ),
]
MaxOffsetOption = Annotated[
    float | None,
    typer.Option(
        "--max-offset",
        min=0,
        callback=finite,
        help="With --offsets: so much (s) they may be apart, such as 0.1.",
        show_default=False,
    ),
]
SplitSeedOption = Annotated[int, typer.Option("--split-seed", help="Another seed holds other videos out.")]
SkipWrongOption = Annotated[
    bool, typer.Option("--skip-wrong", help="Leave wrong rows out and report them, instead of ending at the first.")
]


def list_options(
    list_format: str | None,
    source: str | None,
    sound: str | None,
    keypoints: str | None,
    split: str | None,
    split_list: Sequence[str] | None,
    split_share: Sequence[str] | None,
    split_seed: int,
    label: Sequence[str] | None,
    skip_wrong: bool,
    need_places: bool = True,
    offsets: str | None = None,
    max_offset: float | None = None,
) -> "ListOptions":
    """What the words of these options ask for.

    Raises:
        ManifestError: wrong words for `--split-share`.
    """
    from pipeline.prepare.manifests.options import ListOptions
    from pipeline.prepare.manifests.splits import SplitShares

    return ListOptions(
        list_format,
        source,
        split,
        skip_wrong,
        need_places,
        SplitShares.parse(split_share or [], split_seed),
        sound,
        keypoints,
        tuple(split_list or ()),
        tuple(label or ()),
        offsets,
        max_offset,
    )
