"""Pairs of a frame and a sound, as the extended sets of VGG-SS and Flickr-SoundNet list them: what is prepared is each
video or image once, and whoever evaluates pairs them.

    video,audio,label
    9PmzQI8ZYpg_000147,9PmzQI8ZYpg_000147,non-sounding
    10000130166,10437048305,non-sounding
"""

from collections.abc import Iterator

from cluster.masking import shown
from pipeline.prepare.manifests.csv_rows import csv_rows
from pipeline.prepare.manifests.formats.vggsound import PART_S
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.splits import split_of
from pipeline.prepare.manifests.values import cut_video

HEADER = ("video", "audio", "label")


def looks_like(head: Head) -> bool:
    """The header."""
    return tuple(cell.strip() for cell in head.cells) == HEADER


def read(file: ListFile) -> Iterator[Draft]:
    """A row for each id; of a part of a video the middle frame, as of VGG-SS."""
    split, known = split_of(file.url), set[str]()
    rows = csv_rows(file)
    next(rows, None)
    for line, cells in rows:
        if len(cells) != len(HEADER):
            file.wrong(line, f"expected {','.join(HEADER)}, found {shown(','.join(cells))}")
            continue
        for medium in dict.fromkeys(cell.strip() for cell in cells[:2]):
            if medium in known:
                continue
            known.add(medium)
            try:
                row = _row_of(medium, split, file)
            except WrongRow as error:
                file.wrong(line, error)
                continue
            yield line, Naming.PART if cut_video(medium) else Naming.OWN, row


def _row_of(medium: str, split: str | None, file: ListFile) -> VideoRow:
    part = cut_video(medium)
    if part is None:
        return file.row_of_id(medium, None, (), split)
    youtube, start_s = part
    return file.row_of_id(medium, youtube, (), split, start_s, start_s + PART_S, frame_s=start_s + PART_S / 2)
