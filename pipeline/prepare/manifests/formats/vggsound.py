"""VGGSound: parts of 10 s of YouTube videos, in the forms that go round.

---g-f_I2yQ,1,"people marching",test      the official list: id, start (s), label, split
glLQrEijrKg_000300.mp4,parrot talking     the list of test files: id_start.mp4, label
zpWuikVorYg_000032                        names alone, or with a label (VGG-SS, AVGN); the split is in the file's name
"""

import sys
from collections.abc import Iterator

from cluster.masking import shown
from pipeline.prepare.manifests.csv_rows import csv_rows
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.splits import split_of
from pipeline.prepare.manifests.values import check_range, cut_name, cut_video, is_youtube_id, number, youtube_id

PART_S = 10
"""Length (s) of all its parts."""


def looks_like(head: Head) -> bool:
    """One of its forms in all first lines."""
    rows = head.rows
    return bool(rows) and (all(map(_is_official, rows)) or all(map(_is_named, rows)))


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of a VGGSound list."""
    split = split_of(file.url)
    for line, cells in csv_rows(file):
        try:
            row = _official(cells, file) if len(cells) == 4 else _named(cells, split, file)
        except WrongRow as error:
            file.wrong(line, error)
            continue
        yield line, Naming.PART, row


def _official(cells: list[str], file: ListFile) -> VideoRow:
    youtube = youtube_id(cells[0])
    start_s = number(cells[1], "start")
    check_range(start_s, None, ("start", "end"))
    labels, split = file.labels.of([cells[2]] if cells[2] else []), sys.intern(cells[3]) or None
    return file.row_of_id(cut_name(youtube, start_s), youtube, labels, split, start_s, start_s + PART_S)


def _named(cells: list[str], split: str | None, file: ListFile) -> VideoRow:
    if len(cells) > 2:
        raise WrongRow(f"expected 4 cells (id, start, label, split), or 1 or 2 (id_start, label), found {len(cells)}")
    name = cells[0].removesuffix(".mp4")
    part = cut_video(name)
    if part is None:
        raise WrongRow(f"expected a name such as glLQrEijrKg_000300.mp4, found {shown(cells[0])}")
    youtube, start_s = part
    return file.row_of_id(
        name, youtube, file.labels.of([label for label in cells[1:] if label]), split, start_s, start_s + PART_S
    )


def _is_official(row: list[str]) -> bool:
    return len(row) == 4 and is_youtube_id(row[0]) and row[1].isdigit()


def _is_named(row: list[str]) -> bool:
    return len(row) in (1, 2) and cut_video(row[0].removesuffix(".mp4")) is not None
