"""Options of every verb that reads lists of videos."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.number_options import finite

if TYPE_CHECKING:
    from pipeline.prepare.manifests.options import ListOptions

ListsArgument = Annotated[
    list[str], typer.Argument(help="Folders, prefixes, lists of videos or videos; local or s3://.", show_default=False)
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


@dataclass(frozen=True)
class ListWords:
    """What the words of a command say of lists, an option each."""

    list_format: Annotated[
        str | None,
        typer.Option("--format", help="How the lists are to be read; recognised by default.", show_default=False),
    ] = None
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            help="Where the videos of lists of ids lie, such as '/data/{video}.mp4' or 's3://bucket/{youtube}.mp4'; "
            "fields {video} {youtube} {split} {label} {start} {end}. With {start} in it, as in "
            "'{youtube}_{start:06d}.mp4', or with {video} for lists of parts (VGGSound, AudioSet, "
            "Kinetics), the files are cut to the rows' ranges already and are taken whole. By default ids are "
            "downloaded from YouTube.",
            show_default=False,
        ),
    ] = None
    sound: Annotated[
        str | None,
        typer.Option(
            "--sound",
            help="Where the sounds lie of a list whose --source are images, such as '/data/audio/{video}.wav'.",
            show_default=False,
        ),
    ] = None
    keypoints: Annotated[
        str | None,
        typer.Option(
            "--keypoints",
            help="Where the keypoints lie that AlphaPose, OpenPose or another tool found in the videos: a folder with "
            "VIDEO.json or a folder VIDEO for each, or fields as of --source, such as '/pose/{youtube}.json'.",
            show_default=False,
        ),
    ] = None
    split: Annotated[str | None, typer.Option("--split", help="Only rows of this split.", show_default=False)] = None
    split_list: Annotated[
        list[str] | None,
        typer.Option(
            "--split-list",
            help="A list that names the videos of a split, which is in its rows or its name, such as "
            "music21_train.csv; repeatable. Videos in none of them are left out; --split then chooses one of the "
            "splits.",
            show_default=False,
        ),
    ] = None
    split_share: Annotated[
        list[str] | None,
        typer.Option(
            "--split-share",
            help="Hold a share of the videos out, such as validation=0.1; repeatable. The rest is train. All rows of a "
            "video go to the same split, the same one every time; --split then chooses one of them.",
            show_default=False,
        ),
    ] = None
    split_seed: Annotated[int, typer.Option("--split-seed", help="Another seed holds other videos out.")] = 0
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="Only rows that have no other labels than this; repeatable.", show_default=False),
    ] = None
    offsets: Annotated[
        str | None,
        typer.Option(
            "--offsets",
            help="Leave out videos whose sound and picture are apart by this file, which gavt offset --out wrote; "
            "those of which it says nothing are taken.",
            show_default=False,
        ),
    ] = None
    max_offset: Annotated[
        float | None,
        typer.Option(
            "--max-offset",
            min=0,
            callback=finite,
            help="With --offsets: so much (s) they may be apart, such as 0.1.",
            show_default=False,
        ),
    ] = None
    skip_wrong: Annotated[
        bool, typer.Option("--skip-wrong", help="Leave wrong rows out and report them, instead of ending at the first.")
    ] = False

    def options(self, need_places: bool = True) -> "ListOptions":
        """How the lists are to be read.

        Args:
            need_places: as of `ListOptions`.

        Raises:
            ManifestError: wrong words for `--split-share`.
        """
        from pipeline.prepare.manifests.options import ListOptions
        from pipeline.prepare.manifests.splits import SplitShares

        return ListOptions(
            format=self.list_format,
            source=self.source,
            split=self.split,
            skip_wrong=self.skip_wrong,
            need_places=need_places,
            split_share=SplitShares.parse(self.split_share or [], self.split_seed),
            sound=self.sound,
            keypoints=self.keypoints,
            split_lists=tuple(self.split_list or ()),
            labels=tuple(self.label or ()),
            offsets=self.offsets,
            max_offset_s=self.max_offset,
        )


def with_list_options(*, without: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb the options of `ListWords`, but for some, in the place of its parameter `lists`: typer makes options
    of a function's parameters only."""

    def give(verb: Callable[..., None]) -> Callable[..., None]:
        words = {field.name: field for field in fields(ListWords) if field.name not in without}
        parameters: list[inspect.Parameter] = []
        for one in inspect.signature(verb).parameters.values():
            if one.name == "lists":
                parameters += [_option(name, field.type, field.default) for name, field in words.items()]
            else:
                parameters.append(one.replace(kind=inspect.Parameter.KEYWORD_ONLY))

        @functools.wraps(verb)
        def called(**values: Any) -> None:
            lists = ListWords(**{name: values.pop(name) for name in words})
            verb(**values, lists=lists)

        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # which typer looks at
        called.__annotations__ = {one.name: one.annotation for one in parameters}
        return called

    return give


def _option(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
