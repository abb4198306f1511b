"""AVGN's boxes for MUSIC: JSON with one (solo) or two (duet) instruments and their boxes in a frame.

    [{"file": "-_-TDDxoaAc_000_00000", "class": "cello", "bbox": [0.328, 0.122, 0.234, 0.85]}, …]
    [{"file": "HnUOaSfTA6c_000_00000", "class_src1": "cello", "bbox_src1": […], "class_src2": …, "bbox_src2": […]}, …]

Its boxes are x, y, width and height (public code often reads them as corners); here they become corners. The files are
cut from YouTube videos in a way that the list does not say, so `--source` has to say where they lie. Names are
`YOUTUBE_PART_FRAME`; the public loaders take frames by them and sounds by the YouTube id.
"""

from collections.abc import Iterator
from typing import Any

from cluster.masking import shown
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.json_list import entries, text_of
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.splits import split_of
from pipeline.prepare.manifests.values import finite_box, is_youtube_id
from pipeline.samples.metadata import Box

_NUMBERS = len("_000_00000")
_SOLO = (("class", "bbox"),)
_DUET = (("class_src1", "bbox_src1"), ("class_src2", "bbox_src2"))


def looks_like(head: Head) -> bool:
    """A list of objects with one box, or with two sources."""
    entry = head.first_entry
    if type(entry) is not dict or "file" not in entry:
        return False
    box = entry.get("bbox_src1", entry.get("bbox"))
    return type(box) is list and bool(box) and all(type(value) in (float, int) for value in box)


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of AVGN's lists.

    Raises:
        ManifestError: the file is no JSON list.
    """
    split = split_of(file.url)
    for number, entry in entries(file):
        try:
            sources = _DUET if "class_src1" in entry else _SOLO
            labels = file.labels.of([text_of(entry, name) for name, _ in sources])
            boxes = tuple(_corners(entry.get(name), name) for _, name in sources)
            name = text_of(entry, "file")
            youtube = name[:-_NUMBERS] if is_youtube_id(name[:-_NUMBERS]) else None
            row = file.row_of_id(name, youtube, labels, split, download="", boxes=boxes)
        except WrongRow as error:
            file.wrong(number, error)
            continue
        yield number, Naming.OWN, row


def _corners(value: Any, name: str) -> Box:
    x, y, width, height = finite_box(value, name)
    # corners are sums of rounded numbers, so a box at the edge ends a rounding error outside
    corners = (x, y, min(x + width, 1.0), min(y + height, 1.0))
    if width < 0 or height < 0 or x < 0 or y < 0 or x + width > 1.001 or y + height > 1.001:
        raise WrongRow(f"{name}: expected [x, y, width, height] in 0–1, found {shown(value)}")
    return corners
