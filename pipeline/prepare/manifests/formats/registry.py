"""All formats of lists, and which one a file is in."""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cluster.masking import shown
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.formats import (
    audioset,
    ave,
    avgn,
    folder,
    gavt_csv,
    hmdb51,
    ids,
    is3,
    jsonl,
    kinetics,
    music,
    music200k,
    pairs,
    parquet,
    paths,
    sop,
    ucf101,
    vggsound,
    vggss,
    youtube8m,
)
from pipeline.prepare.manifests.head import Head, read_head
from pipeline.prepare.manifests.list_file import Draft, ListFile
from pipeline.video.open_picture import IMAGE_HEAD, WITH_SOUND, is_image


@dataclass(frozen=True)
class Format:
    """A format of lists.

    Attributes:
        name: what `--format` calls it.
        read: gives the rows of a list.
        looks_like: recognises it from a list's first lines.
        has_ids: rows name videos by ids, which `--source` turns into paths.
        companions: files beside the list that belong to it.
    """

    name: str
    read: Callable[[ListFile], Iterator[Draft]]
    looks_like: Callable[[Head], bool]
    has_ids: bool = True
    companions: tuple[str, ...] = ()


def _never(head: Head) -> bool:
    return False


# the first that recognises a list has it: those with marks of their own come first
FORMATS = (
    Format("folder", folder.read, _never, has_ids=False),
    Format("parquet", parquet.read, parquet.looks_like, has_ids=False),
    Format("jsonl", jsonl.read, jsonl.looks_like, has_ids=False),
    Format("music", music.read, music.looks_like),
    Format("vggss", vggss.read, vggss.looks_like),
    Format("avgn", avgn.read, avgn.looks_like),
    Format("is3", is3.read, is3.looks_like),
    Format("pairs", pairs.read, pairs.looks_like),
    Format("ave", ave.read, ave.looks_like, companions=ave.COMPANIONS),
    Format("audioset", audioset.read, audioset.looks_like, companions=audioset.COMPANIONS),
    Format("kinetics", kinetics.read, kinetics.looks_like),
    Format("music200k", music200k.read, music200k.looks_like, companions=music200k.COMPANIONS),
    Format("vggsound", vggsound.read, vggsound.looks_like),
    Format("youtube8m", youtube8m.read, youtube8m.looks_like, companions=youtube8m.COMPANIONS),
    Format("sop", sop.read, sop.looks_like),
    Format("ucf101", ucf101.read, ucf101.looks_like),
    Format("hmdb51", hmdb51.read, hmdb51.looks_like),
    Format("csv", gavt_csv.read, gavt_csv.looks_like),
    Format("list", paths.read, paths.looks_like),
    Format("ids", ids.read, ids.looks_like),
)
_BY_NAME = {form.name: form for form in FORMATS}


def format_named(name: str) -> Format:
    """The format of this name.

    Raises:
        ManifestError: there is none.
    """
    if name not in _BY_NAME:
        near = difflib.get_close_matches(name, _BY_NAME, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ManifestError(f"--format: expected one of {', '.join(sorted(_BY_NAME))}, found {name!r}{hint}")
    return _BY_NAME[name]


def format_of(url: str) -> Format:
    """The format that a list file is in.

    Raises:
        ManifestError: it is in none that is known, or it can't be read.
    """
    head = read_head(url)
    if is_image(head.start[:IMAGE_HEAD].encode(errors="surrogateescape")):
        raise ManifestError(f"{url}: it is an image and neither a video nor a list{WITH_SOUND}")
    if "\0" in head.start[:4] and not parquet.looks_like(head):
        raise ManifestError(
            f"{url}: expected text, found zero bytes: UTF-16 without a byte-order mark, or no text; save it as UTF-8"
        )
    for form in FORMATS:
        if form.looks_like(head):
            return form
    if not head.lines:
        raise ManifestError(f"{url}: expected videos, found none")
    known = ", ".join(sorted(_BY_NAME))
    raise ManifestError(
        f"{url}: expected a list in a known format ({known}; --format chooses one), "
        f"found first line {shown(head.first)}{_hint(head)}"
    )


def _hint(head: Head) -> str:
    if len(head.cells) < 2:
        return ""
    return "; a table of your own needs a header with a column named source, such as source,labels"
