"""How lists of videos are to be read."""

from dataclasses import dataclass

from pipeline.prepare.manifests.splits import SplitShares


@dataclass(frozen=True)
class ListOptions:
    """What a user may say about lists; the defaults suit lists that are recognised and videos that are downloaded.

    Attributes:
        format: name of a format (`formats.FORMATS`); None recognises it from the file's name and first lines.
        source: where the videos of lists of ids lie, such as `/data/vggsound/{video}.mp4` or
            `s3://bucket/{youtube}.mp4`; see `template.SourceTemplate`. VGGSound, AudioSet and Kinetics are handed on
            as files that are cut to their rows' ranges already: where the template has `{start…}` in it, or `{video}`
            for a list whose ids are those of the parts (`glLQrEijrKg_000300`), the row is about the whole file; else
            start and end stay. None: `youtube:ID`, which is downloaded.
        sound: likewise where their sounds lie, where the files at `source` are images.
        keypoints: likewise where the keypoints lie that were found in the videos, of any list; a folder without fields
            stands for `FOLDER/{video}`.
        split: keep only rows of this split.
        split_lists: lists that name videos, each with a split in its rows or in its name (`music21_train.csv`): rows of
            these videos, by their ids, get that split, and others are left out.
        labels: keep only rows that have labels, and none but these.
        offsets, max_offset_s: a file of `gavt offset --out`, and how much (s) sound and picture may be apart by it; one
            needs the other.
        split_share: what is held out of rows without a split and of `train`; drawn before `split` is looked at.
        skip_wrong: leave wrong rows out and report them, instead of ending at the first.
        need_places: a row of a video that is nowhere (neither on YouTube nor by a template) is wrong. False is for
            looking at lists only: its source then is `unknown:ID`.
    """

    format: str | None = None
    source: str | None = None
    split: str | None = None
    skip_wrong: bool = False
    need_places: bool = True
    split_share: SplitShares | None = None
    sound: str | None = None
    keypoints: str | None = None
    split_lists: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    offsets: str | None = None
    max_offset_s: float | None = None
